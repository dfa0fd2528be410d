//! The session: signing in, and tokens that renew themselves.

use std::{fmt, io, time::Duration};

use reqwest::Method;
use tokio::{sync::Mutex, time::Instant};

use super::{Client, Error};
use crate::{Me, Refresh, SetUp, SetUpDone, SignIn, Tokens};

/// A token with less left than this is renewed before it is refused.
const ENDING: Duration = Duration::from_secs(30);

/// Keeps tokens between runs of a program, perhaps for several of them at once.
pub trait KeepTokens: Send + Sync {
    /// What is kept now; another process may have renewed it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self) -> io::Result<Option<Tokens>>;

    /// Keeps these instead; none after signing out.
    ///
    /// # Errors
    /// When they cannot be written.
    fn save(&self, tokens: Option<&Tokens>) -> io::Result<()>;
}

/// Whom a client asks as.
#[derive(Default)]
pub(super) struct Session {
    // Held while it is renewed, so that many callers renew it once.
    held: Mutex<Held>,
    keeper: Option<Box<dyn KeepTokens>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session").finish_non_exhaustive()
    }
}

#[derive(Default)]
enum Held {
    #[default]
    Nobody,
    Bearer(String),
    Account {
        tokens: Tokens,
        /// When the access token ends; tokens from elsewhere may be of any age.
        ends: Option<Instant>,
    },
}

impl Held {
    fn new(tokens: Tokens) -> Self {
        let ends = Instant::now().checked_add(Duration::from_secs(tokens.expires_in));
        Self::Account { tokens, ends }
    }
}

impl Session {
    pub(super) fn bearer(token: String) -> Self {
        Self { held: Mutex::new(Held::Bearer(token)), keeper: None }
    }

    pub(super) fn kept(keeper: Box<dyn KeepTokens>) -> Result<Self, Error> {
        let tokens = keeper.load().map_err(Error::Tokens)?;
        let held = tokens.map_or(Held::Nobody, |tokens| Held::Account { tokens, ends: None });
        Ok(Self { held: Mutex::new(held), keeper: Some(keeper) })
    }

    fn load(&self) -> Result<Option<Tokens>, Error> {
        self.keeper.as_ref().map_or(Ok(None), |keeper| keeper.load().map_err(Error::Tokens))
    }

    fn save(&self, tokens: Option<&Tokens>) -> Result<(), Error> {
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.save(tokens).map_err(Error::Tokens))
    }
}

impl Client {
    /// Makes the first platform admin.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_up(&self, wanted: &SetUp) -> Result<SetUpDone, Error> {
        let request = self.write(Method::POST, &["setup"], wanted)?;
        let body = self.retried(&request, false).await?;
        serde_json::from_slice(&body).map_err(Error::Answer)
    }

    /// Opens a session and goes on in it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sign_in(&self, sign_in: &SignIn) -> Result<Tokens, Error> {
        let request = self.write(Method::POST, &["sessions"], sign_in)?;
        let body = self.retried(&request, false).await?;
        let tokens: Tokens = serde_json::from_slice(&body).map_err(Error::Answer)?;
        self.session.save(Some(&tokens))?;
        *self.session.held.lock().await = Held::new(tokens.clone());
        Ok(tokens)
    }

    /// Goes on in the session for another tenant, or without one for the platform: now, and whenever it is renewed.
    ///
    /// # Errors
    /// See [`Error`]; then it goes on as before.
    pub async fn switch(&self, tenant: Option<&str>) -> Result<Tokens, Error> {
        let mut held = self.session.held.lock().await;
        // Whoever else renewed the session has the refresh token that is good now.
        let tokens = match (self.session.load()?, &*held) {
            (Some(kept), _) => kept,
            (None, Held::Account { tokens, .. }) => tokens.clone(),
            (None, Held::Nobody | Held::Bearer(_)) => return Err(Error::NoSession),
        };
        let next = self.refresh(&tokens, tenant).await?;
        self.session.save(Some(&next))?;
        *held = Held::new(next.clone());
        Ok(next)
    }

    /// Ends the session it is in, and forgets its tokens.
    ///
    /// # Errors
    /// See [`Error`]; a session that is over already is none.
    pub async fn sign_out(&self) -> Result<(), Error> {
        let held = match &*self.session.held.lock().await {
            Held::Account { tokens, .. } => Some((tokens.session.clone(), tokens.tenant.is_some())),
            Held::Nobody | Held::Bearer(_) => None,
        };
        if let Some((session, is_for_tenant)) = held {
            let mut ended = self.end(&session).await;
            // A tenant that lets its holder in no more refuses this too; the platform does not.
            if is_for_tenant && ended.as_ref().is_err_and(|error| error.problem().is_some()) {
                ended = match self.switch(None).await {
                    Ok(_) => self.end(&session).await,
                    Err(error) => Err(error),
                };
            }
            match ended {
                Err(error) if error.problem().is_none_or(|problem| problem.status != 401) => {
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.session.save(None)?;
        *self.session.held.lock().await = Held::Nobody;
        Ok(())
    }

    async fn end(&self, session: &str) -> Result<Vec<u8>, Error> {
        let request = self.write(Method::DELETE, &["sessions", session], &serde_json::json!({}))?;
        self.retried(&request, true).await
    }

    /// Who is asking.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn me(&self) -> Result<Me, Error> {
        self.ask(self.get(&["me"], &[])?).await
    }

    /// An access token that is good for a while yet, for other programs; none if nobody is signed in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn access_token(&self) -> Result<Option<String>, Error> {
        self.me().await?;
        self.token(None).await
    }

    /// The token to ask with; another one, if there can be one, after this one was refused.
    pub(super) async fn token(&self, refused: Option<&str>) -> Result<Option<String>, Error> {
        let mut held = self.session.held.lock().await;
        let (tokens, ends) = match &*held {
            Held::Nobody => return Ok(None),
            Held::Bearer(token) => return Ok(Some(token.clone())),
            Held::Account { tokens, ends } => (tokens, ends),
        };
        let is_ending = ends.is_some_and(|ends| ends.saturating_duration_since(Instant::now()) < ENDING);
        if !is_ending && refused != Some(&tokens.access_token) {
            return Ok(Some(tokens.access_token.clone()));
        }
        // A refresh token is good once: whoever else renewed the session has the one that is good now.
        let elsewhere = self.session.load()?.filter(|kept| kept.access_token != tokens.access_token);
        if let Some(tokens) = elsewhere {
            let token = tokens.access_token.clone();
            *held = Held::Account { tokens, ends: None };
            return Ok(Some(token));
        }
        let next = self.refresh(tokens, tokens.tenant.as_deref()).await?;
        self.session.save(Some(&next))?;
        let token = next.access_token.clone();
        *held = Held::new(next);
        Ok(Some(token))
    }

    async fn refresh(&self, tokens: &Tokens, tenant: Option<&str>) -> Result<Tokens, Error> {
        let refresh_token = tokens.refresh_token.clone();
        let wanted = Refresh { refresh_token, tenant: tenant.map(str::to_owned) };
        let request = self.write(Method::POST, &["sessions", "refresh"], &wanted)?;
        let response = self.attempt(&request, None).await?;
        let body = response.bytes().await.map_err(Error::Transport)?;
        serde_json::from_slice(&body).map_err(Error::Answer)
    }
}
