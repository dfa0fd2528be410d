//! The rival: what a good engineer writes in an afternoon, in the same language on the same web server.
//!
//! A tenant is a row. A rename is one statement that becomes durable before it is answered, on a pooled
//! connection, prepared once. `/outbox/...` also writes what others must hear of into an outbox, in the same
//! transaction and the same round trip: what it takes to promise that no event is ever lost.
//!
//! It proves its caller by comparing a token with the one it holds: no signature, no database. It keeps no
//! history, no read model, no limits and no trace.
//!
//! Started as `baseline <database> <tenants> <pool>`.

use std::{env, io::Write};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    error::{ErrorBadRequest, ErrorInternalServerError, ErrorNotFound, ErrorUnauthorized},
    web::{Data, Json, Path, get, patch},
};
use anyhow::Context;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use prognet_benches::postgres::TOKEN;
use serde::{Deserialize, Serialize};
use tokio_postgres::{NoTls, Row};

const SCHEMA: &str = "
create table if not exists tenant (
    id bigint primary key, name text not null, slug text not null unique, status text not null,
    version bigint not null, created_at timestamptz not null);
create table if not exists outbox (
    id bigserial primary key, tenant bigint not null, kind text not null, body jsonb not null,
    at timestamptz not null default now());";

const SEED: &str = "
insert into tenant select n, 'Tenant ' || n, 'tenant-' || n, 'active', 1, now() from generate_series(0, $1::bigint - 1) n
on conflict do nothing";

const READ: &str = "select id, name, slug, status, version, created_at::text from tenant where id = $1";

const RENAME: &str = "
update tenant set name = $2, version = version + 1 where id = $1
returning id, name, slug, status, version, created_at::text";

const RENAME_AND_TELL: &str = "
with renamed as (update tenant set name = $2, version = version + 1 where id = $1
    returning id, name, slug, status, version, created_at::text),
told as (insert into outbox (tenant, kind, body)
    select id, 'tenant.renamed', jsonb_build_object('name', name, 'version', version) from renamed)
select * from renamed";

#[derive(Deserialize)]
struct RenameTenant {
    name: String,
}

#[derive(Serialize)]
struct TenantView {
    id: i64,
    name: String,
    slug: String,
    status: String,
    version: i64,
    created_at: String,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut argument = || arguments.next().context("baseline <database> <tenants> <pool>");
    let (url, tenants, size) = (argument()?, argument()?.parse::<i64>()?, argument()?.parse()?);
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let pool = Pool::builder(Manager::from_config(url.parse()?, NoTls, config)).max_size(size).build()?;
    let connection = pool.get().await?;
    connection.batch_execute(SCHEMA).await?;
    connection.execute(SEED, &[&tenants]).await?;
    drop(connection);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(pool.clone()))
            .route("/tenants/{id}", get().to(read))
            .route("/tenants/{id}", patch().to(rename))
            .route("/outbox/tenants/{id}", patch().to(rename_and_tell))
    })
    .bind("127.0.0.1:0")?;
    let address = server.addrs().first().copied().context("no address")?;
    writeln!(std::io::stdout(), "listening http://{address}")?;
    Ok(server.run().await?)
}

async fn read(request: HttpRequest, id: Path<i64>, pool: Data<Pool>) -> actix_web::Result<HttpResponse> {
    prove(&request)?;
    run(&pool, READ, &[&*id]).await
}

async fn rename(
    request: HttpRequest,
    id: Path<i64>,
    body: Json<RenameTenant>,
    pool: Data<Pool>,
) -> actix_web::Result<HttpResponse> {
    prove(&request)?;
    run(&pool, RENAME, &[&*id, &checked(&body)?]).await
}

async fn rename_and_tell(
    request: HttpRequest,
    id: Path<i64>,
    body: Json<RenameTenant>,
    pool: Data<Pool>,
) -> actix_web::Result<HttpResponse> {
    prove(&request)?;
    run(&pool, RENAME_AND_TELL, &[&*id, &checked(&body)?]).await
}

fn prove(request: &HttpRequest) -> actix_web::Result<()> {
    let given = request.headers().get("authorization").and_then(|given| given.to_str().ok());
    let token = given.and_then(|given| given.strip_prefix("Bearer "));
    token.filter(|token| *token == TOKEN).map(|_| ()).ok_or_else(|| ErrorUnauthorized("no"))
}

fn checked(body: &RenameTenant) -> actix_web::Result<&str> {
    let is_valid = (1..=200).contains(&body.name.len());
    is_valid.then_some(body.name.as_str()).ok_or_else(|| ErrorBadRequest("name"))
}

async fn run(
    pool: &Pool,
    sql: &str,
    values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> actix_web::Result<HttpResponse> {
    let connection = pool.get().await.map_err(ErrorInternalServerError)?;
    let statement = connection.prepare_cached(sql).await.map_err(ErrorInternalServerError)?;
    let row = connection.query_opt(&statement, values).await.map_err(ErrorInternalServerError)?;
    let tenant = row.map(view).ok_or_else(|| ErrorNotFound("no such tenant"))?;
    Ok(HttpResponse::Ok().json(tenant))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map`")]
fn view(row: Row) -> TenantView {
    TenantView {
        id: row.get(0),
        name: row.get(1),
        slug: row.get(2),
        status: row.get(3),
        version: row.get(4),
        created_at: row.get(5),
    }
}
