// Each fact gets an element that the test looks for in the document.
import { note } from './note.js';

window.addEventListener('load', async () => {
  note('style', document.getElementById('styled').offsetWidth);
  note('picture', document.getElementById('picture').naturalWidth);
  const headers = { 'Content-Type': 'application/json' };
  const posted = await fetch('api?x=ü', { method: 'POST', body: JSON.stringify({ a: 'ü' }), headers });
  note('posted', posted.status + ' ' + JSON.stringify(await posted.json()));
  const redirected = await fetch('redirect');
  note('redirected', redirected.redirected + ' ' + (await redirected.text()));
  await fetch('cookies');
  note('cookies', document.cookie);
  note('sent', (await (await fetch('cookies')).text()));
  note('packed', (await (await fetch('packed')).text()).length);
  const all = [1, 2, 3, 4, 5, 6, 7, 8].map(async (n) => (await fetch('api?n=' + n)).status);
  note('atonce', (await Promise.all(all)).join());
  note('upload', (await (await fetch('size', { method: 'PUT', body: new Blob([new Uint8Array(5000000)]) })).text()));
  note('done', 'yes');
});
