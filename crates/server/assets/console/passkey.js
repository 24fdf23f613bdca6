// The two passkey ceremonies, in the browser: what the gate asks for goes to the authenticator, and its answer back.
"use strict";

const csrf = document.querySelector('meta[name="csrf"]').content;
const says = document.getElementById("says");

const text = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));

async function send(path, body) {
  const response = await fetch(path, {
    method: "POST",
    credentials: "same-origin",
    headers: { accept: "application/json", "content-type": "application/json", "x-hilum-csrf": csrf },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.says || "The gate did not answer. Try again.");
  return answer;
}

// Runs one ceremony, with the button off meanwhile; what went wrong is said where screen readers hear it.
async function run(button, ceremony) {
  button.disabled = true;
  says.className = "";
  says.textContent = "Follow your browser or device.";
  try {
    location.assign((await ceremony()).next);
  } catch (why) {
    const cancelled = why instanceof DOMException && why.name === "NotAllowedError";
    const known = why instanceof DOMException && why.name === "InvalidStateError";
    says.className = "wrong";
    says.textContent = cancelled
      ? "No passkey was used: it was cancelled, took too long, or there is none for this site."
      : known ? "This device holds a passkey of yours already." : why.message;
    button.disabled = false;
  }
}

async function signIn(request) {
  const asked = await send("/console/sign-in/options", {});
  const made = await navigator.credentials.get({ publicKey: { ...asked, challenge: bytes(asked.challenge) } });
  const { clientDataJSON, authenticatorData, signature, userHandle } = made.response;
  return send("/console/sign-in/passkey", {
    request,
    answer: {
      id: text(made.rawId),
      client_data: text(clientDataJSON),
      authenticator_data: text(authenticatorData),
      signature: text(signature),
      user_handle: userHandle ? text(userHandle) : "",
    },
  });
}

async function enrol(name) {
  const asked = await send("/console/passkeys/options", {});
  const made = await navigator.credentials.create({
    publicKey: {
      ...asked,
      challenge: bytes(asked.challenge),
      user: { ...asked.user, id: bytes(asked.user.id) },
      excludeCredentials: asked.excludeCredentials.map((one) => ({ ...one, id: bytes(one.id) })),
    },
  });
  return send("/console/passkeys/enrol", {
    name,
    client_data: text(made.response.clientDataJSON),
    attestation_object: text(made.response.attestationObject),
  });
}

if (window.PublicKeyCredential && navigator.credentials) {
  for (const note of document.querySelectorAll("[data-needs-script]")) note.remove();
  const button = document.getElementById("sign-in");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => run(button, () => signIn(button.dataset.request)));
  }
  const form = document.getElementById("enrol");
  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(form.querySelector("button"), () => enrol(form.elements.name.value));
    });
  }
}
