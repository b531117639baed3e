// Passkeys: the browser's part of WebAuthn. The server asks, the browser answers, the server checks.
"use strict";

async function ask(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    credentials: "same-origin",
    headers: { "content-type": "application/json", "x-tenure-csrf": "1" },
    body: JSON.stringify(body ?? {}),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`${told.detail} ${told.fix ?? ""}`);
  return told;
}

function tell(text) {
  const place = document.querySelector("#passkey-said");
  place.textContent = text;
  place.hidden = false;
}

async function attempt(button, work) {
  button.disabled = true;
  try {
    location.assign(await work());
  } catch (error) {
    tell(error.name === "NotAllowedError" ? "The browser did not use a passkey." : error.message);
    button.disabled = false;
  }
}

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const node of document.querySelectorAll("[data-passkey]")) node.hidden = false;
}

// After a login at another site: on from here, as a step of this site's own.
document.querySelector("#go-on")?.click();

document.querySelector("#passkey-login")?.addEventListener("click", (event) => {
  attempt(event.currentTarget, async () => {
    const { options } = await ask("/v1/login/passkey/options");
    const credential = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    await ask("/v1/login/passkey", { credential: credential.toJSON() });
    return document.querySelector("[name=back]").value;
  });
});

document.querySelector("#passkey-add")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  attempt(form.querySelector("button"), async () => {
    const { options } = await ask("/v1/account/passkeys/options");
    const credential = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
    await ask("/v1/account/passkeys", { name: form.elements.name.value, credential: credential.toJSON() });
    return "/account?done=passkey";
  });
});
