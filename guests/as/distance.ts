// The functions of wit/distance.wit, with their canonical form written by hand: strings are UTF-16, as AssemblyScript's own.

export function distance(a: usize, aLength: u32, b: usize, bLength: u32): u32 {
  return levenshtein(text(a, aLength), text(b, bLength));
}

// Returns where an option<string> stands: a tag, then the string's address and length.
export function closest(word: usize, wordLength: u32, candidates: usize, count: u32): usize {
  const wanted = text(word, wordLength);
  let best = u32.MAX_VALUE;
  store<u8>(option, 0);
  for (let i: u32 = 0; i < count; i++) {
    const at = load<usize>(candidates + 8 * i);
    const length = load<u32>(candidates + 8 * i, 4);
    const far = levenshtein(wanted, text(at, length));
    if (far < best) {
      best = far;
      store<u8>(option, 1);
      store<usize>(option, at, 4);
      store<u32>(option, length, 8);
    }
  }
  return option;
}

// The host asks for room for its arguments with this. Nothing is ever freed: an instance serves one call.
export function cabi_realloc(old: usize, oldSize: usize, align: usize, newSize: usize): usize {
  return old == 0 ? heap.alloc(newSize) : heap.realloc(old, newSize);
}

const option: usize = heap.alloc(12);

function text(at: usize, length: u32): string {
  return String.UTF16.decodeUnsafe(at, <usize>length << 1);
}

function levenshtein(a: string, b: string): u32 {
  // The distances of the letters of `a` so far to every beginning of `b`.
  const row = new StaticArray<u32>(b.length + 1);
  for (let j = 0; j <= b.length; j++) row[j] = j;
  for (let i = 1; i <= a.length; i++) {
    let diagonal = row[0];
    row[0] = i;
    for (let j = 1; j <= b.length; j++) {
      const replaced = diagonal + u32(a.charCodeAt(i - 1) != b.charCodeAt(j - 1));
      diagonal = row[j];
      row[j] = min(replaced, min(row[j], row[j - 1]) + 1);
    }
  }
  return row[b.length];
}
