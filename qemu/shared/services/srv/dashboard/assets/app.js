const publishableClientKey = "00000000000000000000000000000000ffffffffffffffffffffffffffffffff";
const status = document.querySelector("#project");

const response = await fetch("/api/v1/projects/current", {
  headers: { "x-stack-publishable-client-key": publishableClientKey },
});
status.textContent = response.ok
  ? `Project: ${(await response.json()).display_name}`
  : `The backend does not accept this dashboard's key (${response.status}).`;

const { BACKEND_URL, STACK_EMULATOR_BACKEND_HOST_PORT } = await (await fetch("/api/v1/config")).json();
const backend = BACKEND_URL ?? `http://127.0.0.1:${STACK_EMULATOR_BACKEND_HOST_PORT}`;
Object.assign(document.querySelector("#api"), { href: backend, textContent: backend });

document.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  status.textContent = "There are no accounts here.";
});
