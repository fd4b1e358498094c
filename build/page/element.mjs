// Elements, made one by one: text from elsewhere gets into the page as text, and in no other way.

const SVG = 'http://www.w3.org/2000/svg';
const drawn = ['svg', 'line', 'rect', 'circle', 'path', 'polyline'];

// h('p', { class: 'note', onclick }, 'text', child): attributes, listeners, and what stands inside.
export function h(tag, attributes = {}, ...inside) {
  const e = drawn.includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...inside.flat().filter(i => i !== null && i !== undefined && i !== ''));
  return e;
}
