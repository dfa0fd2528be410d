//! The audit trail of a tenant: who did what, and when.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::{
    auth::access::Right,
    events::{Audit, audit::Row},
    ids,
    tenancy::Tenant,
};
use prognet_sdk::{AuditEntry, AuditPage};
use prognet_supervisor::Home;

use super::{
    Problems,
    events::After,
    tenants::{id, known},
};
use crate::{Edge, caller::Caller, cursor, input::Query, problem::Problem};

/// Entries of a tenant's audit trail, oldest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit", tag = "events", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), After),
    responses((status = 200, description = "A page of the trail", body = AuditPage), Problems))]
pub(crate) async fn of_tenant(
    caller: Caller,
    tenant: Path<String>,
    Query(page): Query<After>,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let tenant = id(&tenant)?;
    let scope = caller.may(Right::ReadAudit, tenant)?;
    known(edge.node.read(scope.asking(), Tenant::at(tenant)).await?)?;
    let page = of_home(tenant.home(), &tenant.to_string(), &page, &edge).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Entries of the audit trail of a home, which is `named`, oldest first.
pub(crate) async fn of_home(
    home: Home,
    named: &str,
    page: &After,
    edge: &Edge,
) -> Result<AuditPage, Problem> {
    let list = format!("audit/{named}");
    let limit = page.limit(edge)?;
    let after =
        page.after.as_deref().map(|after| cursor::read(&edge.node, &list, "after", after)).transpose()?;
    let rows = edge.node.rows::<Audit, Row>(&Audit::prefix(home), after.as_deref(), limit + 1).await?;
    let next = rows.get(limit).and(rows.get(limit - 1)).map(|(key, _)| cursor::write(&edge.node, &list, key));
    let data = rows.iter().take(limit).map(|(_, row)| entry(row)).collect();
    Ok(AuditPage { data, next })
}

fn entry(row: &Row) -> AuditEntry {
    let nameless = || format!("{}/{:032x}", row.kind, row.id);
    AuditEntry {
        at: row.at.to_string(),
        by: row.by.map(|by| by.to_string()),
        action: format!("{}.{}", row.kind, row.event),
        subject: ids::text(row.kind.as_str(), row.id).unwrap_or_else(nameless),
        trace: format!("{:032x}", row.trace),
    }
}
