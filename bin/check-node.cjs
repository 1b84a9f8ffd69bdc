'use strict';
// Plain JavaScript that any Node can read. Loaded before everything else where the runtime was not
// installed with the package, so that an old one ends in one sentence instead of a syntax error.
var wanted = [26, 10];
var found = process.versions.node.split('.').map(Number);
if (found[0] < wanted[0] || (found[0] === wanted[0] && found[1] < wanted[1])) {
  process.stderr.write(
    'caisson: Node.js ' +
      wanted.join('.') +
      ' or newer is needed and this is ' +
      process.versions.node +
      ': repeat the npm install with optional dependencies, or get it from https://nodejs.org.\n',
  );
  process.exit(69);
}
