// Makes elements, of text alone: nothing that was received is ever read as markup.

export function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
