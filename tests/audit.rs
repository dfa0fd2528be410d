//! The audit chain: heads that were noted tell, without keys and without a node, whether the journal was tampered with.

mod forger;

use std::{
    fs,
    path::{Path, PathBuf},
};

use prognet_actors::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{
        Node, PASSWORD,
        command::{prognet, refused, text, told},
    },
    people::{person, with},
};
use forger::{Record, forge, number_entities, number_shards};

/// A tenant of somebody who renamed it a few times, and what was noted of it.
struct Case {
    place: tempfile::TempDir,
    tenant: String,
    /// The bytes of its home.
    home: Vec<u8>,
    page: Value,
}

impl Case {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        fs::create_dir(&data).unwrap();
        let mut node = Node::start(&data);
        let (tenant, page) = renamed(&node).await;
        fs::write(place.path().join("page.json"), page.to_string()).unwrap();
        node.kill();
        let home = tenant.parse::<TenantId>().unwrap().home().canonical().to_vec();
        Self { place, tenant, home, page }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// What verifying without heads is asked, and with those of the page.
    fn questions(&self) -> [Vec<String>; 2] {
        let plain: Vec<_> = ["audit", "verify", "--data", text(&self.data())].map(str::to_owned).into();
        let page = self.place.path().join("page.json");
        let heads = ["--home", &self.tenant, "--heads", text(&page)].map(str::to_owned);
        [plain.clone(), plain.into_iter().chain(heads).collect()]
    }

    #[track_caller]
    fn told(&self) -> [String; 2] {
        self.questions().map(|asked| told(&asked.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// What verifying against the page finds.
    #[track_caller]
    fn found(&self) -> String {
        refused(&self.questions()[1].iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What verifying without heads finds.
    #[track_caller]
    fn found_without_heads(&self) -> String {
        refused(&self.questions()[0].iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The journal is as its format wants it, for whoever looks at frames alone.
    #[track_caller]
    fn is_whole(&self) {
        told(&["journal", "verify", "--data", text(&self.data())]);
    }

    /// How many records the tenant's service had of it behind the `nth` renaming.
    fn records_behind(&self, nth: usize) -> u64 {
        let entries = self.page["data"].as_array().unwrap().iter();
        let mut renamings = entries.filter(|entry| entry["action"] == "tenant.renamed");
        renamings.nth(nth).unwrap()["chain"]["records"].as_u64().unwrap()
    }

    /// Where the tenant's renamings lie.
    fn renamings(&self, records: &[Record]) -> Vec<usize> {
        let all = records.iter().enumerate();
        all.filter(|(_, record)| record.is(&self.home, "renamed")).map(|(at, _)| at).collect()
    }
}

async fn renamed(node: &Node) -> (String, Value) {
    let ada = node.person("ada1").await;
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let path = format!("/v1/tenants/{tenant}");
    for name in ["One", "Two"] {
        owner.patch(&path, json!({ "name": name })).await.ok();
    }
    let third = owner.patch(&path, json!({ "name": "Three" })).await;
    let token = third.headers["Prognet-Consistency"].to_str().unwrap();
    let page = node.get(&format!("{path}/audit?limit=200&consistency={token}")).await.ok();
    let entries = page["data"].as_array().unwrap().iter();
    assert_eq!(entries.filter(|entry| entry["action"] == "tenant.renamed").count(), 3);
    (tenant, page)
}

/// The head of a tenant's own service.
fn head(page: &Value) -> Value {
    let mut heads = page["heads"].as_array().unwrap().iter();
    heads.find(|head| head["service"] == "tenancy").unwrap().clone()
}

#[tokio::test]
async fn what_was_noted_holds_while_the_node_runs_in_a_backup_and_long_after() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (data, page_file, all_file, backup) = (at("data"), at("page"), at("all"), at("backup"));
    fs::create_dir(&data).unwrap();
    let node = Node::start(Path::new(&data));
    let (tenant, page) = renamed(&node).await;
    fs::write(&page_file, page.to_string()).unwrap();
    let mut chains = page["data"].as_array().unwrap().iter().map(|entry| &entry["chain"]);
    let last = chains.rfind(|chain| chain["service"] == "tenancy").unwrap();
    let noted = head(&page);
    assert!(noted["records"].as_u64() >= last["records"].as_u64(), "heads cover the entries");

    let verify = ["audit", "verify", "--data", &data];
    let all = told(&[&verify[..], &["-o", "json"]].concat());
    fs::write(&all_file, &all).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    let mut own = all["heads"].as_array().unwrap().iter().filter(|head| head["home"] == *tenant);
    let own = own.find(|head| head["service"] == "tenancy").unwrap();
    assert!(own["records"].as_u64() >= noted["records"].as_u64(), "{own}");
    let said = told(&verify);
    assert!(said.contains("No head was given, so nothing says"), "{said}");

    told(&["backup", "create", "--data", &data, "--to", &backup]);
    let node = node.kill_and_restart();
    node.tenant("later").await;
    for data in [&data, &backup] {
        let said = told(&[
            "audit", "verify", "--data", data, "--home", &tenant, "--heads", &page_file, "--heads", &all_file,
        ]);
        assert!(said.contains("Every head given holds"), "{said}");
        let by_hand = format!("tenancy@{}:{}", noted["records"], noted["hash"].as_str().unwrap());
        let said = told(&["audit", "verify", "--data", data, "--home", &tenant, "--head", &by_hand]);
        assert!(said.contains("heads_holding      1"), "{said}");
        assert!(said.contains("\ntenancy@"), "{said}");
    }
}

/// Services, their records and hashes, of a page or of what verifying says.
fn heads(of: &Value) -> Vec<(String, u64, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let heads = of["heads"].as_array().unwrap().iter();
    let told =
        heads.map(|head| (text(&head["service"]), head["records"].as_u64().unwrap(), text(&head["hash"])));
    told.collect()
}

#[tokio::test]
async fn a_tier_that_was_lost_comes_back_with_the_heads_of_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    let (tenant, before) = renamed(&node).await;
    node.kill();
    fs::remove_dir_all(data.path().join("tier")).unwrap();

    let node = node.kill_and_restart();

    let path = format!("/v1/tenants/{tenant}/audit?limit=200");
    let page = node.eventually(&path, |page| page["data"] == before["data"]).await;
    assert!(heads(&page).iter().zip(heads(&before)).all(|(now, before)| now.1 >= before.1), "{page}");
    // What the restart still had to do may come meanwhile, and is in both then.
    let is_the_journals = |page: &Value| {
        let verify = ["audit", "verify", "--data", text(data.path()), "--home", &tenant, "-o", "json"];
        heads(page) == heads(&serde_json::from_str(&told(&verify)).unwrap())
    };
    node.eventually(&path, is_the_journals).await;
}

#[tokio::test]
async fn a_sealed_body_that_was_changed_is_found_and_named() {
    let case = Case::new().await;
    assert!(case.told()[1].contains("Every head given holds"));

    forge(&case.data(), |records| {
        let second = case.renamings(records)[1];
        records[second].turn_a_bit();
    });

    case.is_whole();
    let found = case.found();
    let record = format!(
        "{}: record {} of tenancy is not what it was: tenant.renamed",
        case.tenant,
        case.records_behind(1)
    );
    assert!(found.contains(&record), "{found}");
    // Who has one head only learns that it is wrong, and who has none nothing at all.
    let noted = head(&case.page);
    let by_hand = format!("tenancy@{}:{}", noted["records"], noted["hash"].as_str().unwrap());
    let data = case.data();
    let found =
        refused(&["audit", "verify", "--data", text(&data), "--home", &case.tenant, "--head", &by_hand]);
    assert!(found.contains(&format!("something in records 1 to {} of tenancy", noted["records"])), "{found}");
    told(&["audit", "verify", "--data", text(&data)]);
}

#[tokio::test]
async fn a_record_that_was_removed_is_found_and_named_even_without_heads() {
    let case = Case::new().await;
    let removed = case.records_behind(1);

    // Once as it is, once with its shard's offsets made to follow, once with its entity's seqs too.
    forge(&case.data(), |records| {
        let second = case.renamings(records)[1];
        records.remove(second);
    });
    case.is_whole();
    let found = case.found_without_heads();
    assert!(found.contains("shard tenancy/") && found.contains("is not there"), "{found}");
    forge(&case.data(), |records| number_shards(records));
    case.is_whole();
    let found = case.found_without_heads();
    assert!(found.contains(&format!("{}: an entity's record", case.tenant)), "{found}");
    forge(&case.data(), |records| number_entities(records));
    case.is_whole();
    told(&["audit", "verify", "--data", text(&case.data())]);

    let found = case.found();
    assert!(
        found.contains(&format!("{}: record {removed} of tenancy is not what it was", case.tenant)),
        "{found}"
    );
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found_by_heads() {
    let case = Case::new().await;
    let left = case.records_behind(2) - 1;

    forge(&case.data(), |records| {
        let third = case.renamings(records)[2];
        let mut at = 0;
        records.retain(|record| {
            at += 1;
            at <= third || !record.is_of(&case.home)
        });
        number_shards(records);
    });

    case.is_whole();
    told(&["audit", "verify", "--data", text(&case.data())]);
    let found = case.found();
    assert!(found.contains(&format!("{}: tenancy has {left} records, and had", case.tenant)), "{found}");
}

#[tokio::test]
async fn records_that_were_exchanged_or_inserted_are_found_by_heads() {
    for insert in [false, true] {
        let case = Case::new().await;
        forge(&case.data(), |records| {
            let renamings = case.renamings(records);
            if insert {
                let copy = records[renamings[0]].clone();
                records.insert(renamings[1], copy);
            } else {
                records.swap(renamings[0], renamings[1]);
            }
            number_shards(records);
            number_entities(records);
        });

        case.is_whole();
        told(&["audit", "verify", "--data", text(&case.data())]);
        let (found, wrong) = (case.found(), case.records_behind(usize::from(insert)));
        assert!(
            found.contains(&format!("{}: record", case.tenant)) || found.contains("something in records"),
            "{found}"
        );
        assert!(found.contains(&format!("{wrong} of tenancy")), "{found}");
    }
}

/// What is left of somebody who was erased is sealed for ever, and still the same.
#[tokio::test]
async fn an_erased_person_verifies_by_what_was_noted_before() {
    let place = tempfile::tempdir().unwrap();
    let (data, page_file) = (place.path().join("data"), place.path().join("page"));
    fs::create_dir(&data).unwrap();
    let node = Node::with(&data, &[("PROGNET_AUTH_LEAVING_GRACE", "1s")]);
    let session = person(&node, "grace@example.org").await;
    let account = session.account.clone();
    let activity = format!("/v1/accounts/{account}/activity?limit=200");
    let has_signed_in = |page: &Value| {
        let entries = page["data"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        entries.filter(|entry| entry["action"] == "session.opened").count() == 1
    };
    let noted = node.eventually(&activity, has_signed_in).await;
    let own =
        with(&node, Method::GET, "/v1/me/activity?limit=200", &session.access_token, json!({})).await.ok();
    fs::write(&page_file, format!("{noted}\n{own}")).unwrap();

    let body = json!({ "password": PASSWORD });
    with(&node, Method::DELETE, "/v1/me", &session.access_token, body).await.ok();
    node.until_refused(&format!("/v1/accounts/{account}")).await.problem(404, "account/unknown");

    let verify = ["audit", "verify", "--data", text(&data), "--home", &account, "--heads", text(&page_file)];
    assert!(told(&verify).contains("Every head given holds"));
    let node = node.kill_and_restart();
    let page = node.eventually(&activity, |page| page["data"] == json!([])).await;
    let services: Vec<_> = heads(&page).into_iter().map(|(service, ..)| service).collect();
    assert_eq!(services, ["auth", "communication", "users"]);
    fs::write(&page_file, page.to_string()).unwrap();
    assert!(told(&verify).contains("Every head given holds"));
}

#[tokio::test]
async fn heads_that_are_none_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (data, file) = (at("data"), at("heads"));
    fs::create_dir(&data).unwrap();
    let mut node = Node::start(Path::new(&data));
    node.kill();
    let of = format!("ten_{}", "0".repeat(26));
    let hash = "ab".repeat(32);

    for head in ["tenancy@1:ab", "tenancy@0:", &format!("tenancy@0:{hash}"), &hash] {
        let asked = ["audit", "verify", "--data", &data, "--home", &of, "--head", head];
        assert_eq!(prognet(&asked).status.code(), Some(2), "{head}");
    }
    let head = format!("tenancy@1:{hash}");
    let asked = ["audit", "verify", "--data", &data, "--head", &head];
    assert_eq!(prognet(&asked).status.code(), Some(2), "of which home?");
    let found = refused(&["audit", "verify", "--data", &data, "--home", &of, "--head", &head]);
    assert!(found.contains(&format!("{of}: tenancy has 0 records, and had 1")), "{found}");
    for (text, why) in [("{}", "there are no heads in"), ("no json", "failed to read heads from")] {
        fs::write(&file, text).unwrap();
        let said = refused(&["audit", "verify", "--data", &data, "--heads", &file]);
        assert!(said.contains(why), "{said}");
    }
    fs::write(&file, json!({ "service": "tenancy", "records": 1, "hash": hash }).to_string()).unwrap();
    let said = refused(&["audit", "verify", "--data", &data, "--heads", &file]);
    assert!(said.contains("say with --home"), "{said}");
    let said = refused(&["audit", "verify", "--data", &at("nowhere")]);
    assert!(said.contains("failed to verify"), "{said}");
}
