'use strict';

// Prints event.lines lines of event.size bytes, a hundred at a time, as a program that logs in earnest does.
exports.handler = async (event, context) => {
  const line = 'x'.repeat(event.size) + '\n';
  const hundred = line.repeat(100);
  for (let i = 0; i < event.lines; i += 100) process.stdout.write(hundred);
  return event.lines;
};
