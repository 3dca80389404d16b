(names) => {
  // The colours of the brush are buttons without names; `names` has one for each CSS colour.
  const name = () => document.querySelectorAll("button:not([aria-label])").forEach(button => {
    const found = names[button.style.backgroundColor];
    if (found) { button.setAttribute("aria-label", found); button.title = found; }
  });
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
}
