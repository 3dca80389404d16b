async () => {
  // One change of the canvas causes several events, and at each of them it may be half updated (the
  // editor announces a picture before it has it); only the last event proceeds, after a pause.
  const mine = window.pixelarChange = (window.pixelarChange ?? 0) + 1;
  await new Promise(done => setTimeout(done, 150));
  if (mine !== window.pixelarChange) throw "another change came";
}
