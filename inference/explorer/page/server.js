// Asking the server: a sentence for whatever goes wrong, and no more than one question at a time.

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: is ssvae explore still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.error ?? `The server could not answer (status ${response.status}); its terminal says why.`);
  }
  return answer;
}

// Runs a task for the latest input: while one is under way, newer inputs replace each other, and the last one is next.
// Both a hand that draws and a mouse that moves ask faster than any server answers. The element is busy meanwhile.
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
