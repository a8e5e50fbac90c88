// events reads a stream of events up to its third; the server sends the last one only when the page has seen the
// first.
function events() {
  return new Promise((resolve, reject) => {
    const source = new EventSource('events');
    const seen = [];
    source.onerror = () => reject(new Error('events: ' + seen));
    source.onmessage = async (event) => {
      seen.push(event.data);
      if (seen.length === 1) await fetch('seen', { method: 'POST' });
      if (seen.length < 3) return;
      source.close();
      resolve(seen.join() + ' ' + event.lastEventId);
    };
  });
}

// echo sends text and bytes over a WebSocket, and has the server close it.
function echo() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket('ws://' + location.host + '/socket');
    const seen = [];
    socket.binaryType = 'arraybuffer';
    socket.onerror = () => reject(new Error('socket: ' + seen));
    socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array(3)); socket.send('x'.repeat(1000000)); };
    socket.onmessage = ({ data }) => {
      seen.push(typeof data === 'string' ? 'text ' + data.length : 'bytes ' + data.byteLength);
      if (seen.length === 3) socket.send('close');
    };
    socket.onclose = ({ code, reason }) => resolve([...seen, code, reason].join());
  });
}

// parts reads an answer whose second part the server sends only when the page has seen the first.
async function parts() {
  const reader = (await fetch('parts')).body.getReader();
  const seen = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return seen.join();
    seen.push(new TextDecoder().decode(value));
    if (seen.length === 1) await fetch('next', { method: 'POST' });
  }
}

const notes = {};
try {
  notes.events = await events();
  notes.early = await (await fetch('early')).text();
  notes.echo = await echo();
  notes.fetched = await parts();
} catch (error) {
  notes.error = error.message;
}
await fetch('report', { method: 'POST', body: JSON.stringify(notes) });
