// Requests to the server: one sentence for each error, and one request at a time.

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not respond. Is ssvae explore still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.error ?? `The server reported an error (status ${response.status}); see its terminal.`);
  }
  return answer;
}

// Runs a task for the latest input. Inputs that arrive while it runs replace each other; the last one is next. This is
// needed since mouse events are more frequent than the server's answers. The element is busy meanwhile.
export function latest(element, task) {
  let next;
  return async (...input) => {
    next = input;
    if (element.ariaBusy === "true") return;
    element.ariaBusy = "true";
    try {
      while (next) {
        const current = next;
        next = undefined;
        await task(...current);
      }
    } finally {
      element.ariaBusy = "false";
    }
  };
}

export function posted(content) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
}
