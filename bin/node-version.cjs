'use strict';
// Plain JavaScript that any Node can read: so that an old one ends in one sentence instead of a syntax error.
var wanted = [26, 10];

/** What to say to somebody who runs this version of Node; empty when it is new enough. */
exports.complaint = function (version) {
  var found = version.split('.').map(Number);
  if (found[0] > wanted[0] || (found[0] === wanted[0] && found[1] >= wanted[1])) return '';
  return (
    'Node.js ' +
    wanted.join('.') +
    ' or newer is needed and this is ' +
    version +
    ': repeat the npm install with optional dependencies, or get it from https://nodejs.org.'
  );
};
