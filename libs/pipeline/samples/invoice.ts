import { filePart, heading, joined, multipart, textPart } from "./parts.ts";
import { pdf } from "./pdf.ts";
import type { Sample } from "./sample.ts";

export const invoice: Sample = {
  name: "invoice",
  about: "An invoice: a few words, and one PDF attached.",
  from: "billing@shop.example",
  build: (making) =>
    joined(
      heading(making, "The Shop", "Invoice 2042"),
      multipart("mixed", "=_invoice", [
        textPart("text/plain", "Thank you for your order.\nYour invoice is attached.\n\nThe Shop\n"),
        filePart(
          "application/pdf",
          "invoice-2042.pdf",
          pdf([
            "Invoice 2042",
            "2 grinding stones    24.00",
            "Shipping              4.90",
            "Total                28.90",
          ]),
        ),
      ]),
    ),
};
