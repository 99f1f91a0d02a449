import { accept, definePolicy } from "@millrace/pipeline";

export default definePolicy({ name: "Wrong Name", on: "mail", decide: () => accept() });
