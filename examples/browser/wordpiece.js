// BERT's tokenizer: text to word pieces, as clipsep/queries/embedded/wordpiece.py has it.

const LONGEST_WORD = 100;
const IDEOGRAPH = /[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/u;
const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\0\ufffd]/u;
const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}/u;

export class WordPiece {
  constructor(tokenizer, most = 256) {
    this.pieces = new Map(Object.entries(tokenizer.model.vocab));
    this.most = most;
  }

  // Token ids, between the start and the end token.
  encode(text) {
    const ids = [this.pieces.get("[CLS]")];
    for (const word of words(normalized(text))) ids.push(...this.#ids(word));
    return [...ids.slice(0, this.most - 1), this.pieces.get("[SEP]")];
  }

  #ids(word) {
    const characters = [...word], ids = [];
    if (characters.length > LONGEST_WORD) return [this.pieces.get("[UNK]")];
    let start = 0;
    while (start < characters.length) {
      let end = characters.length, piece;
      for (; end > start; end--) {
        piece = this.pieces.get((start ? "##" : "") + characters.slice(start, end).join(""));
        if (piece !== undefined) break;
      }
      if (piece === undefined) return [this.pieces.get("[UNK]")];
      ids.push(piece);
      start = end;
    }
    return ids;
  }
}

function normalized(text) {
  let spaced = "";
  for (const character of text) {
    if (/[\t\n\r]/.test(character)) spaced += " ";
    else if (CONTROL.test(character)) continue;
    else if (IDEOGRAPH.test(character)) spaced += ` ${character} `;
    else spaced += /\s/u.test(character) ? " " : character;
  }
  return [...spaced.normalize("NFD")].filter((one) => !/\p{Mn}/u.test(one)).map((one) => one.toLowerCase()).join("");
}

function* words(text) {
  for (const part of text.split(/\s+/u).filter(Boolean)) {
    let word = "";
    for (const character of part) {
      if (!PUNCTUATION.test(character)) {
        word += character;
        continue;
      }
      if (word) yield word;
      yield character;
      word = "";
    }
    if (word) yield word;
  }
}
