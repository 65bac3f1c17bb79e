//! The ports in memory: one lock around everything, so that each call is one transaction.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use inkstone_core::Context;
use inkstone_core::access::{Permit, Scopes};
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::error::{Code, Error, Result};
use inkstone_core::idempotency::{AnswerRepository, Idempotency, StoredAnswer, Written};
use inkstone_core::identity::*;
use inkstone_core::page::Page;
use inkstone_core::users::repository::{Decide, UserQuery};
use inkstone_core::users::{Bio, NewUser, User, UserChange, UserId, UserKey, UserRepository};
use jiff::{SignedDuration, Timestamp};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) users: Vec<(User, Option<String>)>,
    pub(crate) sessions: Vec<Session>,
    /// Session, end, and whether it was used.
    pub(crate) refresh: HashMap<SecretHash, (i64, Timestamp, bool)>,
    pub(crate) tokens: Vec<(PersonalToken, SecretHash)>,
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) secrets: HashMap<String, Vec<u8>>,
    pub(crate) failures: HashMap<String, (Vec<Timestamp>, Option<Timestamp>)>,
    pub(crate) audit: Vec<(String, String)>,
    /// By scope and key: the request's fingerprint, and the answer.
    pub(crate) answers: HashMap<(String, String), ([u8; 32], StoredAnswer)>,
    pub(crate) key_reads: u32,
    pub(crate) touches: u32,
    pub(crate) read_only: bool,
}

#[derive(Default)]
pub(crate) struct Fake(Mutex<State>);

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.users.iter().map(|(user, _)| user).find(|user| user.id == id)
    }

    pub(crate) fn actions(&self) -> Vec<&str> {
        self.audit.iter().map(|(action, _)| action.as_str()).collect()
    }

    fn record(&mut self, action: &str, subject: String) {
        self.audit.push((action.to_owned(), subject));
    }

    fn answer(&self, scope: &str, key: &str, fingerprint: [u8; 32]) -> Result<Option<StoredAnswer>> {
        match self.answers.get(&(scope.to_owned(), key.to_owned())) {
            Some((known, _)) if *known != fingerprint => Err(Error::refused(Code::IdempotencyKeyReused, "Reused.")),
            found => Ok(found.map(|(_, answer)| answer.clone())),
        }
    }

    fn replay<T>(&self, asked: Option<&Idempotency<T>>) -> Result<Option<StoredAnswer>> {
        asked.map_or(Ok(None), |asked| self.answer(&asked.scope, &asked.key, asked.fingerprint))
    }

    fn remember<T>(&mut self, asked: Option<&Idempotency<T>>, written: &T) -> Result<()> {
        let Some(asked) = asked else { return Ok(()) };
        let answer = (asked.render)(written)?;
        self.answers.insert((asked.scope.clone(), asked.key.clone()), (asked.fingerprint, answer));
        Ok(())
    }

    fn can_sign_in(&self) -> bool {
        self.users.iter().any(|(user, hash)| hash.is_some() && !user.disabled)
    }

    fn live(&self, session: i64, now: Timestamp) -> Option<(Session, User)> {
        let session = self.sessions.iter().find(|s| s.id == session)?;
        let user = self.user(session.user)?;
        (session.revoked_at.is_none() && session.expires_at > now && !user.disabled)
            .then(|| (session.clone(), user.clone()))
    }

    fn end_sessions(&mut self, at: Timestamp, mut which: impl FnMut(&Session) -> bool) -> usize {
        let ended = self.sessions.iter_mut().filter(|s| s.revoked_at.is_none() && which(s));
        ended.map(|session| session.revoked_at = Some(at)).count()
    }
}

fn id_after(count: usize) -> i64 {
    i64::try_from(count).unwrap() + 1
}

#[async_trait]
impl SessionRepository for Fake {
    async fn begin(
        &self,
        _: &Context,
        user: &User,
        scopes: Scopes,
        token: SecretHash,
        token_expires_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>> {
        let mut state = self.state();
        if state.user(user.id) != Some(user) || user.disabled {
            return Ok(None);
        }
        let user = user.id;
        let id = id_after(state.sessions.len());
        let session = Session { id, user, scopes, created_at: now, last_used_at: now, expires_at, revoked_at: None };
        state.sessions.push(session.clone());
        state.refresh.insert(token, (id, token_expires_at, false));
        state.record("login.succeeded", format!("user:{user}"));
        Ok(Some(session))
    }

    async fn rotate(
        &self,
        _: &Context,
        token: SecretHash,
        next: SecretHash,
        next_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation> {
        let mut state = self.state();
        let Some(&(id, expires_at, used)) = state.refresh.get(&token) else { return Ok(Rotation::Refused) };
        let Some(live) = state.live(id, now) else { return Ok(Rotation::Refused) };
        if used {
            state.end_sessions(now, |session| session.id == id);
            state.record("refresh.reused", format!("user:{}", live.0.user));
            return Ok(Rotation::Reused(Box::new(live.0)));
        }
        if expires_at <= now {
            return Ok(Rotation::Refused);
        }
        state.refresh.insert(token, (id, expires_at, true));
        state.refresh.insert(next, (id, next_expires_at, false));
        Ok(Rotation::Rotated(Box::new(live)))
    }

    async fn end_by_token(&self, _: &Context, token: SecretHash, now: Timestamp) -> Result<bool> {
        let mut state = self.state();
        let Some(&(id, ..)) = state.refresh.get(&token) else { return Ok(false) };
        let ended = state.end_sessions(now, |session| session.id == id) > 0;
        if ended {
            state.record("logout", format!("session:{id}"));
        }
        Ok(ended)
    }

    async fn end(&self, _: &Context, user: UserId, id: i64, now: Timestamp) -> Result<bool> {
        let mut state = self.state();
        let ended = state.end_sessions(now, |session| session.id == id && session.user == user) > 0;
        if ended {
            state.record("session.ended", format!("session:{id}"));
        }
        Ok(ended)
    }

    async fn list(&self, _: &Context, user: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let state = self.state();
        let own = state.sessions.iter().rev().filter(|session| session.user == user);
        Ok(own.filter_map(|session| state.live(session.id, now)).map(|(session, _)| session).collect())
    }

    async fn find_live(&self, _: &Context, session: i64, now: Timestamp) -> Result<Option<(Session, User)>> {
        Ok(self.state().live(session, now))
    }
}

#[async_trait]
impl PersonalTokenRepository for Fake {
    async fn create(
        &self,
        _: &Context,
        new: NewPersonalToken,
        asked: Option<Idempotency<PersonalToken>>,
    ) -> Result<Written<PersonalToken>> {
        let mut state = self.state();
        if let Some(answer) = state.replay(asked.as_ref())? {
            return Ok(Written::Replayed(answer));
        }
        let NewPersonalToken { user, name, hint, hash, scopes, expires_at, created_at } = new;
        let id = id_after(state.tokens.len());
        let (last_used_at, revoked_at) = (None, None);
        let token = PersonalToken { id, user, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at };
        state.tokens.push((token.clone(), hash));
        state.record("token.created", format!("token:{id}"));
        state.remember(asked.as_ref(), &token)?;
        Ok(Written::Done(token))
    }

    async fn find_live(&self, _: &Context, hash: SecretHash, now: Timestamp) -> Result<Option<(PersonalToken, User)>> {
        let state = self.state();
        let Some((token, _)) = state.tokens.iter().find(|(_, h)| *h == hash) else { return Ok(None) };
        let user = state.user(token.user).filter(|user| !user.disabled).cloned();
        Ok(user.filter(|_| token.revoked_at.is_none() && token.expires_at > now).map(|user| (token.clone(), user)))
    }

    async fn list(&self, _: &Context, user: Option<UserId>) -> Result<Vec<PersonalToken>> {
        let state = self.state();
        let tokens = state.tokens.iter().rev().map(|(token, _)| token);
        Ok(tokens.filter(|token| user.is_none_or(|user| token.user == user)).cloned().collect())
    }

    async fn revoke(&self, _: &Context, user: Option<UserId>, id: i64, now: Timestamp) -> Result<bool> {
        let mut state = self.state();
        let found =
            state.tokens.iter_mut().map(|(token, _)| token).find(|token| {
                token.id == id && token.revoked_at.is_none() && user.is_none_or(|user| token.user == user)
            });
        let Some(token) = found else { return Ok(false) };
        token.revoked_at = Some(now);
        state.record("token.revoked", format!("token:{id}"));
        Ok(true)
    }

    async fn touch(&self, _: &Context, id: i64, now: Timestamp) -> Result<()> {
        let mut state = self.state();
        state.touches += 1;
        if state.read_only {
            return Err(Error::internal("the store is read-only"));
        }
        state.tokens.iter_mut().find(|(token, _)| token.id == id).unwrap().0.last_used_at = Some(now);
        Ok(())
    }
}

#[async_trait]
impl KeyRepository for Fake {
    async fn list(&self, _: &Context) -> Result<Vec<SigningKey>> {
        let keys = {
            let mut state = self.state();
            state.key_reads += 1;
            state.keys.clone()
        };
        // A real store answers later: let others come in between.
        tokio::task::yield_now().await;
        Ok(keys)
    }

    async fn replace(&self, _: &Context, expected: &[(String, KeyState)], keys: Vec<SigningKey>) -> Result<bool> {
        let mut state = self.state();
        let mut present: Vec<_> = state.keys.iter().map(|key| (key.kid.clone(), key.state)).collect();
        present.sort_by(|a, b| a.0.cmp(&b.0));
        if present != expected {
            return Ok(false);
        }
        state.keys = keys;
        state.record("keys.rotated", "keys".to_owned());
        Ok(true)
    }
}

#[async_trait]
impl PasswordRepository for Fake {
    async fn find(&self, _: &Context, login: &str) -> Result<Option<PasswordRecord>> {
        let state = self.state();
        let found = state.users.iter().find(|(user, _)| {
            user.handle.as_str() == login || user.email.as_ref().is_some_and(|email| email.folded() == login)
        });
        Ok(found.map(|(user, hash)| PasswordRecord { user: user.clone(), hash: hash.clone() }))
    }

    async fn any_can_sign_in(&self, _: &Context) -> Result<bool> {
        Ok(self.state().can_sign_in())
    }

    async fn rehash(&self, _: &Context, id: UserId, weak: &str, hash: String) -> Result<()> {
        let mut state = self.state();
        let (_, present) = state.users.iter_mut().find(|(user, _)| user.id == id).unwrap();
        if present.as_deref() == Some(weak) {
            *present = Some(hash);
        }
        Ok(())
    }

    async fn blocked_until(&self, _: &Context, keys: &[String], now: Timestamp) -> Result<Option<Timestamp>> {
        let state = self.state();
        let blocks = keys.iter().filter_map(|key| state.failures.get(key)?.1).filter(|until| *until > now);
        Ok(blocks.max())
    }

    async fn record_failure(
        &self,
        _: &Context,
        keys: &[(String, ThrottlePolicy)],
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let mut state = self.state();
        let mut worst = None;
        for (key, policy) in keys {
            let (failures, blocked) = state.failures.entry(key.clone()).or_default();
            failures.retain(|at| *at + SignedDuration::from_secs(policy.window_secs.into()) > now);
            failures.push(now);
            let secs = policy.block_secs(u32::try_from(failures.len()).unwrap());
            *blocked = (secs > 0).then(|| now + SignedDuration::from_secs(secs.into()));
            worst = worst.max(*blocked);
        }
        let subject = user.map_or_else(|| "login:unknown".to_owned(), |user| format!("user:{user}"));
        state.record("login.failed", subject);
        Ok(worst)
    }

    async fn clear_failures(&self, _: &Context, keys: &[String]) -> Result<()> {
        let mut state = self.state();
        for key in keys {
            state.failures.remove(key);
        }
        Ok(())
    }
}

#[async_trait]
impl SecretRepository for Fake {
    async fn get_or_insert(&self, _: &Context, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.state().secrets.entry(name.to_owned()).or_insert(fresh).clone())
    }

    async fn get(&self, _: &Context, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.state().secrets.get(name).cloned())
    }

    async fn put(&self, _: &Context, name: &str, value: Vec<u8>) -> Result<()> {
        self.state().secrets.insert(name.to_owned(), value);
        Ok(())
    }

    async fn remove(&self, _: &Context, name: &str) -> Result<bool> {
        Ok(self.state().secrets.remove(name).is_some())
    }
}

#[async_trait]
impl UserRepository for Fake {
    async fn find(&self, _: &Context, key: &UserKey) -> Result<Option<User>> {
        let UserKey::Id(id) = key else { return Err(Error::internal("identity looks accounts up by id")) };
        Ok(self.state().user(*id).cloned())
    }

    async fn list(&self, _: &Context, _: &UserQuery) -> Result<Page<User>> {
        Err(Error::internal("identity does not list accounts"))
    }

    async fn count(&self, _: &Context, _: bool) -> Result<u64> {
        Err(Error::internal("identity does not count accounts"))
    }

    async fn create(
        &self,
        _: &Context,
        new: Permit<NewUser>,
        first_only: bool,
        asked: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        let mut state = self.state();
        if let Some(answer) = state.replay(asked.as_ref())? {
            return Ok(Written::Replayed(answer));
        }
        if first_only && state.can_sign_in() {
            return Err(Error::refused(Code::Conflict, "Somebody can sign in already."));
        }
        let NewUser { handle, email, display_name, role, password_hash, created_at } = new.change().clone();
        let id = UserId(id_after(state.users.len()));
        let user = User {
            id,
            handle,
            email,
            display_name,
            bio: Bio::default(),
            avatar_url: None,
            role,
            disabled: false,
            version: 1,
            created_at,
            updated_at: created_at,
        };
        state.users.push((user.clone(), password_hash));
        state.record("user.created", format!("user:{id}"));
        state.remember(asked.as_ref(), &user)?;
        Ok(Written::Done(user))
    }

    async fn change(
        &self,
        _: &Context,
        id: UserId,
        decide: Decide,
        asked: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        let mut state = self.state();
        if let Some(answer) = state.replay(asked.as_ref())? {
            return Ok(Written::Replayed(answer));
        }
        let user = state.user(id).cloned().ok_or_else(|| Error::not_found("user"))?;
        let permit = decide(&user)?;
        let UserChange { role, disabled, password_hash, .. } = permit.change().clone();
        let ends_sessions = disabled == Some(true) || password_hash.is_some();
        let slot = state.users.iter_mut().find(|(user, _)| user.id == id).unwrap();
        slot.0.role = role.unwrap_or(slot.0.role);
        slot.0.disabled = disabled.unwrap_or(slot.0.disabled);
        slot.0.version += 1;
        if password_hash.is_some() {
            slot.1 = password_hash;
        }
        let changed = slot.0.clone();
        if ends_sessions {
            let at = changed.updated_at;
            state.end_sessions(at, |session| session.user == id);
        }
        state.record("user.changed", format!("user:{id}"));
        state.remember(asked.as_ref(), &changed)?;
        Ok(Written::Done(changed))
    }
}

#[async_trait]
impl AnswerRepository for Fake {
    async fn find_answer(&self, _: &Context, scope: &str, key: &str, of: [u8; 32]) -> Result<Option<StoredAnswer>> {
        self.state().answer(scope, key, of)
    }
}

#[async_trait]
impl AuditRepository for Fake {
    async fn record(&self, _: &Context, entry: Entry) -> Result<()> {
        self.state().record(entry.action, entry.subject);
        Ok(())
    }
}
