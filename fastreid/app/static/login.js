// Where the service asks for a token.

import { api, onLogin } from "./api.js";
import { fill, h } from "./dom.js";
import { Panel } from "./panels.js";

function enter() {
  return new Promise((resolve) => {
    const panel = new Panel("box", "Sign in", { locked: true, onclose: () => panel.element.remove() });
    const token = h("input", { type: "password", id: "token", required: true, autocomplete: "current-password" });
    const problem = h("p", { class: "problem", role: "alert" });
    const form = h("form", { class: "ask" },
      h("p", {}, "This service is protected. Enter the token that its keeper gave you."),
      h("label", { for: "token" }, "Token", token), problem,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Sign in")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await api.login(token.value);
        panel.close();
        resolve();
      } catch (error) {
        problem.textContent = error.message;
        token.select();
      }
    });
    fill(panel.body, form);
    panel.show();
    token.focus();
  });
}

onLogin(enter);

export { enter };
