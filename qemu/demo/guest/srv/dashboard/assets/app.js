const publishableClientKey = "00000000000000000000000000000000000000000000000000000000000000ff";
const status = document.querySelector("#project");

const response = await fetch("/api/v1/projects/current", {
  headers: { "x-stack-publishable-client-key": publishableClientKey },
});
status.textContent = response.ok
  ? `Project: ${(await response.json()).display_name}`
  : `The backend does not accept this dashboard's key (${response.status}).`;

const { BACKEND_URL } = await (await fetch("/api/v1/config")).json();
Object.assign(document.querySelector("#api"), { href: BACKEND_URL, textContent: BACKEND_URL });

document.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  status.textContent = "This demo has no accounts.";
});
