// Where in a JSON text a JSON pointer leads (RFC 6901). The text is known to be JSON.

/** Begin and end of the value, as places in the text; those of the longest part of the pointer that leads somewhere. */
export function rangeOf(text: string, pointer: string): [number, number] {
  const keys = pointer.split("/").slice(1).filter((key, index, all) => key !== "" || index < all.length - 1);
  const scanner = new Scanner(text);
  return scanner.find(keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~")));
}

class Scanner {
  private at = 0;

  constructor(private readonly text: string) {}

  find(keys: string[]): [number, number] {
    this.space();
    const begin = this.at;
    const [key, ...rest] = keys;
    let found: [number, number] | undefined;
    this.value((inner) => {
      if (key !== undefined && inner === key && !found) found = this.find(rest);
      else this.value();
    });
    return found ?? [begin, this.at];
  }

  /** Go past a value. `each` is called with the key or index of a value in it, and goes past that. */
  private value(each: (key: string) => void = () => this.value()): void {
    this.space();
    const letter = this.text[this.at];
    if (letter === "{") this.inside("}", () => this.member(each));
    else if (letter === "[") {
      let index = 0;
      this.inside("]", () => each(String(index++)));
    } else if (letter === '"') this.string();
    else while (this.at < this.text.length && !/[\s,\]}]/.test(this.text[this.at]!)) this.at++;
  }

  private inside(end: string, next: () => void): void {
    this.at++;
    for (;;) {
      this.space();
      if (this.at >= this.text.length) return;
      if (this.text[this.at] === end) {
        this.at++;
        return;
      }
      if (this.text[this.at] === ",") this.at++;
      else next();
    }
  }

  private member(each: (key: string) => void): void {
    const key = this.string();
    this.space();
    this.at++; // the colon
    this.space();
    each(key);
  }

  private string(): string {
    const begin = this.at++;
    while (this.at < this.text.length && this.text[this.at] !== '"') this.at += this.text[this.at] === "\\" ? 2 : 1;
    this.at++;
    return JSON.parse(this.text.slice(begin, this.at)) as string;
  }

  private space(): void {
    while (/\s/.test(this.text[this.at] ?? "")) this.at++;
  }
}
