// Does to the posts on the page whatever a frontend and a reader may do, and lists what should not be there.
const KINDS = ['mouseover', 'mouseenter', 'mousemove', 'pointerover', 'pointerdown', 'mousedown', 'mouseup', 'wheel',
  'keydown', 'keyup', 'input', 'change', 'copy', 'paste', 'drag', 'drop', 'contextmenu', 'dblclick', 'auxclick',
  'touchstart', 'scroll', 'animationstart', 'transitionend', 'toggle', 'beforetoggle', 'select', 'submit', 'invalid'];
const ELSEWHERE = ['http:', 'https:', 'mailto:', 'tel:'];
const found = new Set();
const images = new Set();

// Whoever follows a link leaves the page: that is not what is looked for. All other addresses are followed.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (link && ELSEWHERE.includes(link.protocol)) event.preventDefault();
});

function inspect(root) {
  for (const element of root.querySelectorAll('*')) {
    const name = element.localName;
    if (element.namespaceURI !== 'http://www.w3.org/1999/xhtml') found.add(`<${name}> of ${element.namespaceURI}`);
    if (BANNED.includes(name) || name.includes('-')) found.add(`<${name}>`);
    if (name === 'img' && element.src) images.add(element.src);
    for (const { name: attribute, value } of element.attributes) {
      if (attribute.startsWith('on') || ['style', 'srcdoc', 'srcset', 'formaction', 'target', 'ping', 'is', 'slot', 'part',
        'contenteditable', 'tabindex', 'accesskey', 'popovertarget', 'autofocus', 'background'].includes(attribute)) {
        found.add(`<${name} ${attribute}>`);
      }
      if (['id', 'name'].includes(attribute) && !value.startsWith('user-content-')) found.add(`${attribute}=${value}`);
    }
    for (const attribute of ['href', 'src', 'cite', 'data', 'action', 'xlink:href']) {
      const address = element.getAttribute(attribute);
      if (address === null || !URL.canParse(address, location)) continue;
      const { protocol } = new URL(address, location);
      if (!ELSEWHERE.includes(protocol)) found.add(`<${name} ${attribute}> to ${protocol}`);
    }
  }
}

function touch(root) {
  for (const element of root.querySelectorAll('*')) {
    for (const kind of KINDS) element.dispatchEvent(new Event(kind, { bubbles: true, cancelable: true }));
    element.focus?.();
    element.blur?.();
    if (element.localName === 'details') element.open = !element.open;
    if (element.click) element.click();
    else element.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }));
  }
}

async function settled() {
  const pending = [...document.images].filter((image) => image.loading !== 'lazy' && !image.complete);
  await Promise.all(pending.map((image) => new Promise((done) => {
    image.addEventListener('load', done);
    image.addEventListener('error', done);
  })));
  // What is handed to the event loop meanwhile comes before this.
  for (let turn = 0; turn < 3; turn += 1) await new Promise((done) => setTimeout(done));
}

const posts = [...document.querySelectorAll('article')];
for (const post of posts) {
  inspect(post);
  touch(post);
}
await settled();
// As frontends do it, and again: what is parsed and written and parsed may become something else each time.
const elsewhere = document.implementation.createHTMLDocument();
for (const post of posts) {
  for (const name of ['div', 'td', 'template']) {
    // Where nothing is loaded or run, so that only the last form of it counts.
    const context = elsewhere.createElement(name);
    context.innerHTML = post.innerHTML;
    for (let turn = 0; turn < 3; turn += 1) context.innerHTML = context.innerHTML;
    const copy = document.createElement('article');
    copy.innerHTML = context.innerHTML;
    document.body.append(copy);
    inspect(copy);
    touch(copy);
  }
}
await settled();
return { found: [...found], images: [...images], posts: posts.length, shadowed: typeof window.shadowed };
