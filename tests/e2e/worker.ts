/** What a Worker answers to a message, once; it ends then. Rejects with what it throws. */
export async function answerOf<Answer>(worker: Worker, message: unknown): Promise<Answer> {
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
      worker.postMessage(message);
    });
  } finally {
    worker.terminate();
  }
}
