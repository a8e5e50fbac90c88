'use strict';
// A page behind API Gateway: a form, its answer, a picture, and data for the page's script.

const picture = 'iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAIAAAAG+GGPAAAAEUlEQVR4nGNQaDiAiRhoJAoAQgQwIZrAnk8AAAAASUVORK5CYII=';

const escape = (text) => text.replace(/[&<>"']/g, (c) => '&#' + c.charCodeAt(0) + ';');

const answer = (statusCode, type, body, more) => ({
  statusCode, headers: { 'Content-Type': type, 'X-Content-Type-Options': 'nosniff', ...more }, body, isBase64Encoded: false,
});

const page = (statusCode, content, more) => answer(statusCode, 'text/html; charset=utf-8', `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>A function's page</title>
<h1>A function's page</h1>
${content}
</html>
`, more);

exports.handler = async (event, context) => {
  const body = Buffer.from(event.body || '', event.isBase64Encoded ? 'base64' : 'utf8').toString();
  switch (event.httpMethod + ' ' + event.path) {
    case 'GET /':
      return page(200, `<img id="picture" src="picture.png" alt="a square">
<form id="form" action="greet" method="post"><input name="name" value="Zoë &amp; Co"><button>Greet</button></form>
<p id="time"></p>
<script>fetch('data?n=1').then((a) => a.json()).then((d) => { document.getElementById('time').textContent = d.n + ' ' + d.cookie; });</script>`,
      { 'Set-Cookie': 'seen=yes; Path=/; SameSite=Lax' });
    case 'POST /greet':
      return page(200, `<p id="greeting">Hello, ${escape(new URLSearchParams(body).get('name') || 'world')}</p>`);
    case 'GET /data':
      return answer(200, 'application/json', JSON.stringify({ n: event.queryStringParameters.n, cookie: event.headers.cookie || '' }));
    case 'GET /picture.png':
      return { statusCode: 200, headers: { 'Content-Type': 'image/png' }, body: picture, isBase64Encoded: true };
    default:
      return page(404, `<p>There is no ${escape(event.path)} here.</p>`);
  }
};
