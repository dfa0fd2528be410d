//! The audit trail of a tenant: who did what, and when.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::{
    auth::access::Right,
    events::{
        Audit,
        audit::{Row, Strand},
    },
    ids,
    tenancy::Tenant,
};
use prognet_sdk::{AuditEntry, AuditHead, AuditPage};
use prognet_supervisor::{Asking, Home};

use super::{
    Problems,
    tenants::{id, known},
};
use crate::{
    Edge,
    caller::Caller,
    input::Query,
    list::{self, Page},
    problem::Problem,
};

/// Services that may know a home: more than there are.
const SERVICES_MAX: usize = 32;

/// Entries of a tenant's audit trail, oldest first, with the heads of its audit chain.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit", tag = "events", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), Page),
    responses((status = 200, description = "A page of the trail", body = AuditPage), Problems))]
pub(crate) async fn of_tenant(
    caller: Caller,
    tenant: Path<String>,
    Query(page): Query<Page>,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let tenant = id(&tenant)?;
    let scope = caller.may(Right::ReadAudit, tenant)?;
    known(edge.node.read(scope.asking(), Tenant::at(tenant)).await?)?;
    let page = of_home(tenant.home(), &tenant.to_string(), &page, scope.asking(), &edge).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Entries of the audit trail of a home, which is `named`, oldest first.
pub(crate) async fn of_home(
    home: Home,
    named: &str,
    page: &Page,
    asking: &Asking,
    edge: &Edge,
) -> Result<AuditPage, Problem> {
    let list = format!("audit/{named}");
    let (rows, next) = list::page::<Audit, Row>(&list, &Audit::prefix(home), page, asking, edge).await?;
    // Read after the entries, so that they cover them.
    let strands = edge.node.rows::<Audit, Strand>(&Audit::strands(home), None, SERVICES_MAX).await?;
    let heads = strands.iter().map(|(_, strand)| head(strand)).collect();
    Ok(AuditPage { data: rows.iter().map(entry).collect(), next, heads })
}

fn head(Strand { service, head }: &Strand) -> AuditHead {
    AuditHead { service: service.to_string(), records: head.records, hash: head.hex() }
}

fn entry(row: &Row) -> AuditEntry {
    let nameless = || format!("{}/{:032x}", row.kind, row.id);
    AuditEntry {
        at: row.at.to_string(),
        by: row.by.map(|by| by.to_string()),
        action: format!("{}.{}", row.kind, row.event),
        subject: ids::text(row.kind.as_str(), row.id).unwrap_or_else(nameless),
        trace: format!("{:032x}", row.trace),
        chain: head(&row.strand),
    }
}
