/** Types a browser shows without running anything in them. All others are downloaded as octets. */
const harmless =
  /^(?:image\/(?:png|jpeg|gif|webp|avif|bmp|tiff)|text\/(?:plain|csv|calendar)|audio\/[\w.+-]+|video\/[\w.+-]+|application\/(?:pdf|zip|gzip|json|msword|rtf|vnd\.(?:openxmlformats-officedocument|oasis\.opendocument|ms-excel|ms-powerpoint)[\w.+-]*))$/;

/** An attachment's type, if it is one that does no harm; `application/octet-stream` else. */
export function harmlessType(contentType: string): string {
  const type = contentType.toLowerCase();
  return harmless.test(type) ? type : "application/octet-stream";
}

/**
 * `attachment`, with the sender's file name in both of RFC 6266's forms: without folders, control characters and what
 * turns the direction of writing around (`exe.<U+202E>fdp` reads as `exe.pdf`).
 */
export function attachmentDisposition(filename: string): string {
  const name = plainName(filename);
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/gu, "_");
  // RFC 5987's attr-char is what encodeURIComponent leaves, without these.
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

function plainName(filename: string): string {
  const name = filename
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "")
    .replace(/^.*[/\\]/su, "")
    .replace(/[<>:"|?*]/g, "_")
    .replace(/^[.\s]+|[.\s]+$/g, "");
  // Windows takes these for devices, whatever stands behind the dot.
  const safe = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i.test(name) ? `_${name}` : name;
  return [...safe].slice(0, 150).join("") || "attachment";
}
