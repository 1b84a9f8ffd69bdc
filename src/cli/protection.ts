/** How a volume's protection is told to people: one that is missing is named as such wherever it shows. */

/** For tables and answers, in full. */
export function protectionText(protection: 'sealed' | 'none' | 'hashed'): string {
  if (protection === 'sealed') return 'sealed';
  if (protection === 'hashed') return 'hashed: not secret; every byte is checked against the root when it is read';
  return 'none: UNPROTECTED, not secret, integrity only by the signature over whole objects; whoever reaches the store can read and change it';
}

/** Behind a name, where there is room for little; nothing for a sealed volume. */
export function protectionNote(protection: 'sealed' | 'none' | 'hashed' | undefined): string {
  if (protection === 'none') return ' (UNPROTECTED: not secret, integrity only by signature)';
  return protection === 'hashed' ? ' (hashed: not secret, checked, read-only)' : '';
}
