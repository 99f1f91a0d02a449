/**
 * How the sessions of a listener become private: never (`off`), when the client asks for it (`starttls`), from the
 * first octet on (`implicit`), or before they come to us: a proxy has ended TLS, and they count as secure (`proxy`).
 */
export const tlsModes = ["off", "starttls", "implicit", "proxy"] as const;
export type TlsMode = (typeof tlsModes)[number];
