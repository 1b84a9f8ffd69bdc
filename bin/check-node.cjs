'use strict';
// Loaded before everything else where the runtime was not installed with the package.
var complaint = require('./node-version.cjs').complaint(process.versions.node);
if (complaint !== '') {
  process.stderr.write('caisson: ' + complaint + '\n');
  process.exit(69);
}
