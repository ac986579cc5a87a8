// The contrast of every text on a page with what is behind it, after WCAG 2.

/** Texts whose contrast is less than 4.5. Runs inside of the page. */
export function poorContrast() {
  const numbers = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const parsed = (colour) => {
    const [r = 0, g = 0, b = 0, a = 1] = numbers(colour);
    // Mixed colours come as shares of one.
    return colour.startsWith('color(') ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const light = ([r, g, b]) => {
    const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) {
        return colour;
      }
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).join('');
    if (text === '' || element.closest('noscript, script, [hidden]') || element.getClientRects().length === 0 || element.matches(':disabled')) {
      continue;
    }
    const [front, back] = [light(parsed(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) {
      poor.push(`${ratio.toFixed(2)} "${text.slice(0, 30)}"`);
    }
  }
  return poor;
}

/** Controls without a name that a screen reader could say. Runs inside of the page. */
export function nameless() {
  return [...document.querySelectorAll('button, a[href], input, select, textarea, dialog[open], [role=img]')]
    .filter((it) => {
      const labelled = it.labels !== undefined && it.labels !== null && [...it.labels].some((label) => label.textContent.trim() !== '');
      return !labelled && !it.getAttribute('aria-label') && !it.getAttribute('aria-labelledby') && it.textContent.trim() === '';
    })
    .map((it) => it.outerHTML.slice(0, 90));
}
