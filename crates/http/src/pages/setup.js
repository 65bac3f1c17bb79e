'use strict';
const form = document.getElementById('setup');
const answer = document.getElementById('answer');
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const body = Object.fromEntries(new FormData(form));
  body.secret = location.hash.slice(1);
  const response = await fetch('/api/v2/setup', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.ok) {
    history.replaceState(null, '', location.pathname);
    form.hidden = true;
    answer.textContent = 'Done. You can sign in now: POST /api/v2/auth/login.';
    return;
  }
  const problem = await response.json();
  const faults = (problem.errors || []).map((fault) => `${fault.pointer.slice(1)}: ${fault.detail}`);
  answer.textContent = [problem.detail || problem.title, ...faults].join('\n');
});
