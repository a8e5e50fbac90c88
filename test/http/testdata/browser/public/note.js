export function note(name, value) {
  const p = document.createElement('p');
  p.id = name;
  p.textContent = value;
  document.body.append(p);
}
