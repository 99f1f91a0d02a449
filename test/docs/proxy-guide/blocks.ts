/** A fenced block of a guide: a script, known by its name, or a file. */
export interface Block {
  text: string;
  /** `sh <name>` */
  name?: string;
  /** `yaml file=<path>` */
  file?: string;
}

/** All fenced blocks, in their order. @throws for one that is neither */
export function blocksOf(guide: string): Block[] {
  return [...guide.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map(([, info = "", text = ""]) => {
    const name = /^sh (\S+)$/.exec(info)?.[1];
    const file = /^\w+ file=(\S+)$/.exec(info)?.[1];
    if (name === undefined && file === undefined)
      throw new Error(`a block is neither \`sh <name>\` nor a file: ${info}\n${text}`);
    return { text, name, file };
  });
}
