// Notes in the page: when the stream brought an Event, and when its row was painted. Times: seconds since 1970.
(() => {
  const now = () => (performance.timeOrigin + performance.now()) / 1000;
  const seen = (window.feedSeen = { received: [], painted: [], long: [] });
  const Plain = window.EventSource;
  window.EventSource = class extends Plain {
    constructor(...given) {
      super(...given);
      const note = (message) => {
        const at = now();
        const said = JSON.parse(message.data);
        for (const item of Array.isArray(said) ? said : [said]) seen.received.push([at, item.id, item.seq, item.agent]);
      };
      super.addEventListener("message", note);
    }
  };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) seen.long.push(entry.duration);
  }).observe({ type: "longtask", buffered: true });
  document.addEventListener("DOMContentLoaded", () => {
    const feed = document.querySelector("#feed");
    if (!feed) return;
    const after = new MessageChannel();
    let waiting = [];
    after.port1.onmessage = () => {
      const at = now();
      for (const seq of waiting) seen.painted.push([at, seq]);
      waiting = [];
    };
    new MutationObserver((changes) => {
      const before = waiting.length;
      for (const change of changes) for (const node of change.addedNodes) if (node.dataset) waiting.push(Number(node.dataset.seq));
      if (!before && waiting.length) requestAnimationFrame(() => after.port2.postMessage(0));
    }).observe(feed, { childList: true });
  });
})();
