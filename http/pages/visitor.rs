//! Who looks at a page, and whether a form that came back was given to that very browser.

use std::{future::Future, pin::Pin};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::{Method, StatusCode, header},
    web::Data,
};
use minijinja::{Value, context};
use prognet_actors::{
    auth::{Session, session},
    ids::TenantId,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Instead, page, sign_in::HOME, told};
use crate::{
    Edge,
    caller::Caller,
    cookies::{self, DEVICE, FLOW, Held, SESSION, WAY},
    gate,
    input::Form,
    place,
    problem::Problem,
    record,
    tokens::{self, Refreshing},
    v1::{dev, sessions::Opened},
};

/// How long a browser is known: 400 days is what browsers allow (RFC 6265bis s. 5.5).
const DEVICE_LASTS_S: u64 = 400 * 24 * 3600;
/// Bytes of a way that a browser is given to keep: an invitation's has some 130.
const WAY_MAX: usize = 1024;

/// Somebody's browser.
pub(crate) struct Visitor {
    request: HttpRequest,
    edge: Data<Edge>,
    /// The session its cookie holds, if that lives.
    held: Option<Held>,
    /// Its cookie holds one that has ended.
    is_lapsed: bool,
    caller: Option<Caller>,
    /// Ties forms to a browser that nobody is signed in with.
    flow: String,
    is_flow_new: bool,
}

impl Visitor {
    async fn of(request: HttpRequest) -> Result<Self, Problem> {
        let edge = request.app_data::<Data<Edge>>().cloned().ok_or_else(Problem::unauthorized)?;
        let held = cookies::read(SESSION, &request, &edge).and_then(|text| Held::parse(&text, &edge.node));
        let caller = match held {
            Some(held) => signed_in(held, &request, &edge).await?,
            None => None,
        };
        let known = cookies::read(FLOW, &request, &edge).filter(|flow| is_flow(flow));
        let is_flow_new = known.is_none();
        let flow = known.unwrap_or_else(|| format!("{:032x}", edge.node.clock().fresh_id()));
        let is_lapsed = held.is_some() && caller.is_none();
        let held = held.filter(|_| caller.is_some());
        Ok(Self { request, edge, held, is_lapsed, caller, flow, is_flow_new })
    }

    pub(crate) fn edge(&self) -> &Data<Edge> {
        &self.edge
    }

    pub(crate) fn request(&self) -> &HttpRequest {
        &self.request
    }

    /// Who is signed in, if somebody is.
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Who is signed in; whoever is not is asked to, and comes back here then.
    pub(crate) fn person(&self) -> Result<&Caller, Instead> {
        self.caller.as_ref().ok_or_else(|| Instead::SignIn { back: self.back() })
    }

    /// Where to come back to: what a form was sent to is no page.
    fn back(&self) -> String {
        let is_page = self.request.method() == Method::GET;
        if is_page { self.request.uri().to_string() } else { HOME.to_owned() }
    }

    /// Who is signed in, as who they are in one of their tenants.
    pub(crate) async fn person_in(&self, tenant: TenantId) -> Result<Caller, Instead> {
        let caller = self.person()?;
        let (account, session) = (caller.account(), caller.claims().sid);
        let id = tenant.to_string();
        let tenant = place::tenant_for(account, None, Some(&id), caller.own().asking(), &self.edge).await;
        let tenant = tenant.inspect_err(|problem| {
            record::kept_out(caller.peer(), account, Some(&id), problem.code());
        })?;
        let claims = tokens::claims(&self.edge, account, session, tenant);
        match Caller::of_browser(&self.request, &self.edge, claims).await {
            Err(problem) if problem.code() == "session/outlived" => {
                Err(Instead::SignInAgain { back: self.back() })
            }
            come => Ok(come?),
        }
    }

    /// What every form carries, so that no other site can send one in this browser's name.
    fn proof(&self) -> String {
        let print = match self.held {
            Some(held) => self.edge.node.hash("form-of-session", &held.bytes()),
            None => self.edge.node.hash("form-of-flow", self.flow.as_bytes()),
        };
        format!("{print:032x}")
    }

    /// A page for this visitor.
    pub(crate) fn page(&self, status: StatusCode, name: &str, values: &Value) -> HttpResponse {
        let proof = format!(r#"<input type="hidden" name="csrf" value="{}">"#, self.proof());
        let frame = context! {
            proof => Value::from_safe_string(proof),
            here => self.request.path(),
            is_signed_in => self.caller.is_some(),
            shortest => self.edge.settings.auth.password_rules.shortest(),
            has_inbox => dev::inbox(&self.request, &self.edge).is_some(),
        };
        let mut response = page(status, name, &context! { ..frame, ..values.clone() });
        if self.held.is_none() && self.is_flow_new {
            set(&mut response, FLOW, &self.flow, None, &self.edge);
        }
        response
    }

    /// A form once more, with what was wrong.
    pub(crate) fn again(&self, name: &str, problem: &Problem, values: &Value) -> HttpResponse {
        let values = context! { problem => told(problem), ..values.clone() };
        let mut response = self.page(problem.status(), name, &values);
        problem.say_when(response.headers_mut());
        response
    }

    /// What tells this browser from those of strangers who guess passwords.
    pub(crate) fn device(&self) -> Option<String> {
        cookies::read(DEVICE, &self.request, &self.edge)
    }

    /// The way to a page, as whoever signed in just now.
    pub(crate) fn enter(&self, opened: &Opened, to: &str) -> HttpResponse {
        let Opened { first: Refreshing { account, session, .. }, device, .. } = *opened;
        let mut response = see_other(to);
        let (edge, lasts) = (&self.edge, self.edge.settings.auth.refresh_lasts.as_secs());
        set(&mut response, SESSION, &Held { account, session }.text(&edge.node), Some(lasts), edge);
        set(&mut response, DEVICE, &device.token(&edge.node), Some(DEVICE_LASTS_S), edge);
        set(&mut response, FLOW, "", Some(0), edge);
        if self.way().is_some() {
            set(&mut response, WAY, "", Some(0), edge);
        }
        response
    }

    /// Where this browser was on its way to when its person signed up.
    pub(crate) fn way(&self) -> Option<String> {
        let kept = cookies::read(WAY, &self.request, &self.edge)?;
        form_urlencoded::parse(kept.as_bytes()).next().map(|(way, _)| way.into_owned())
    }

    /// Keeps where it is on its way to, as long as signing up may take: the link that verifies leads elsewhere.
    pub(crate) fn keep_way(&self, response: &mut HttpResponse, to: &str) {
        let way: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
        if way.len() <= WAY_MAX {
            let lasts = self.edge.settings.auth.sign_up_lasts.as_secs();
            set(response, WAY, &way, Some(lasts), &self.edge);
        }
    }

    /// The way to a page, signed out.
    pub(crate) fn leave(&self, to: &str) -> HttpResponse {
        let mut response = see_other(to);
        set(&mut response, SESSION, "", Some(0), &self.edge);
        if self.way().is_some() {
            set(&mut response, WAY, "", Some(0), &self.edge);
        }
        response
    }
}

/// Who a cookie's session belongs to, if it lives; that it is used is told to it now and then, so that it does
/// not end as one that nobody uses.
async fn signed_in(held: Held, request: &HttpRequest, edge: &Edge) -> Result<Option<Caller>, Problem> {
    let claims = tokens::claims(edge, held.account, held.session, None);
    let caller = match Caller::of_browser(request, edge, claims).await {
        Ok(caller) => caller,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => return Ok(None),
        Err(problem) => return Err(problem),
    };
    let (now, key) = (edge.node.clock().now(), (held.account, held.session));
    if edge.used.get(&key, now).is_none() {
        edge.used.put(key, now, ());
        let (asking, session) = (gate::asking(edge), Session::at(held.account, held.session));
        if let Some(session::View { generation, .. }) = edge.node.read(&asking, session).await? {
            let session = Session::at(held.account, held.session);
            edge.node.ask(&asking, session, session::Command::Refresh { generation }).await?;
        }
    }
    Ok(Some(caller))
}

fn is_flow(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The way to another page, by GET.
pub(crate) fn see_other(to: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, to)).finish()
}

fn set(response: &mut HttpResponse, cookie: &str, value: &str, seconds: Option<u64>, edge: &Edge) {
    match cookies::set(cookie, value, seconds, edge) {
        Ok(cookie) => response.headers_mut().append(header::SET_COOKIE, cookie),
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "failed to set a cookie"),
    }
}

impl FromRequest for Visitor {
    type Error = Instead;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Instead>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let visitor = Self::of(request.clone());
        Box::pin(async { Ok(visitor.await?) })
    }
}

/// A form that its visitor was given here: no handler sees another one.
pub(crate) struct Posted<T> {
    pub(crate) visitor: Visitor,
    pub(crate) form: T,
}

#[derive(Deserialize)]
struct Proven<T> {
    #[serde(default)]
    csrf: String,
    #[serde(flatten)]
    form: T,
}

impl<T: DeserializeOwned + 'static> FromRequest for Posted<T> {
    type Error = Instead;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Instead>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let form = Form::<Proven<T>>::from_request(request, payload);
        let visitor = Visitor::of(request.clone());
        Box::pin(async {
            let visitor = visitor.await?;
            if is_foreign(&visitor.request, &visitor.edge) {
                return Err(Problem::forged().into());
            }
            let Form(Proven { csrf, form }) = form.await?;
            let is_proven = tokens::is_same(&visitor.edge.node, csrf.as_bytes(), visitor.proof().as_bytes());
            match is_proven {
                true => Ok(Self { visitor, form }),
                false if visitor.is_lapsed => Err(Instead::SignIn { back: HOME.to_owned() }),
                false => Err(Problem::forged().into()),
            }
        })
    }
}

/// Whether another site sent it, by what the browser says of that.
///
/// Our pages send no referrer, and so browsers call the origin of their forms `null`: that is nobody's, and left to
/// the form's proof unless the browser says more.
fn is_foreign(request: &HttpRequest, edge: &Edge) -> bool {
    let said = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let is_site_foreign = said("Sec-Fetch-Site").is_some_and(|site| !["same-origin", "none"].contains(&site));
    let own = match &edge.settings.auth.issuer {
        Some(public) => public.clone(),
        None => format!("http://{}", said("Host").unwrap_or_default()),
    };
    let is_origin_foreign = said("Origin").is_some_and(|origin| origin != "null" && origin != own);
    is_site_foreign || is_origin_foreign
}
