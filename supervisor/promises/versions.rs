//! Code that changes over a history that does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Never;
use crate::{
    Aggregate, Context, Decision, Entity, Home, HomeKind, Kind, Name, Projection, Recorded, Rows, Service,
    TierError, Unavailable, Upcaster, Value, testing::World,
};

const SIGN: Kind = Kind::new("test", "sign");

/// A sign as it was first written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct OldSign(String);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OldEvent {
    Painted { text: String },
    Cleaned {},
}

impl Aggregate for OldSign {
    const KIND: Kind = SIGN;
    type Command = String;
    type Event = OldEvent;
    type Reply = String;
    type Rejection = Never;

    fn decide(&self, text: String, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(Decision::event(OldEvent::Cleaned {}).and(OldEvent::Painted { text }))
    }

    fn evolve(&mut self, event: &OldEvent) {
        match event {
            OldEvent::Painted { text } => self.0.clone_from(text),
            OldEvent::Cleaned {} => self.0.clear(),
        }
    }

    fn reply(&self) -> String {
        self.0.clone()
    }
}

/// The same two versions later: lines instead of a text, then a colour.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sign(Vec<String>, String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Painted { lines: Vec<String>, colour: String },
    Cleaned {},
}

fn painted(fields: Vec<(Value, Value)>) -> Option<Value> {
    Some(Value::Map(vec![("painted".into(), Value::Map(fields))]))
}

fn fields(event: &Value) -> Option<&Vec<(Value, Value)>> {
    event.as_map()?.first()?.1.as_map()
}

const STEPS: &[Upcaster] = &[
    Upcaster {
        name: Name::new("painted"),
        from: 2,
        apply: |event| {
            let lines = fields(&event)?.first()?.clone();
            painted(vec![lines, ("colour".into(), "black".into())])
        },
    },
    Upcaster {
        name: Name::new("painted"),
        from: 1,
        apply: |event| {
            let text = fields(&event)?.first()?.1.clone();
            painted(vec![("lines".into(), Value::Array(vec![text]))])
        },
    },
];

impl Aggregate for Sign {
    const KIND: Kind = SIGN;
    const EVENT_VERSION: u16 = 3;
    type Command = String;
    type Event = Event;
    type Reply = (Vec<String>, String);
    type Rejection = Never;

    fn decide(&self, line: String, _: &Context) -> Result<Decision<Self>, Never> {
        let lines = self.0.iter().cloned().chain([line]).collect();
        Ok(Decision::event(Event::Painted { lines, colour: "red".to_owned() }))
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Painted { lines, colour } => (self.0, self.1) = (lines.clone(), colour.clone()),
            Event::Cleaned {} => self.0.clear(),
        }
    }

    fn reply(&self) -> (Vec<String>, String) {
        (self.0.clone(), self.1.clone())
    }

    fn upcasters() -> &'static [Upcaster] {
        STEPS
    }
}

const HOME: Home = Home { kind: HomeKind::Tenant, id: 1 };

fn old() -> Vec<Service> {
    vec![Service::new("test").aggregate::<OldSign>()]
}

fn new() -> Vec<Service> {
    vec![Service::new("test").aggregate::<Sign>()]
}

#[tokio::test]
async fn events_of_every_old_version_apply_and_are_read_as_todays() {
    let mut world = World::new(old).await;
    world.ask(Entity::<OldSign>::new(HOME, 1), "open".to_owned()).await.unwrap();

    world.upgrade(new).await;

    let sign = Entity::<Sign>::new(HOME, 1);
    let read = |lines: &[&str], colour: &str| {
        (lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), colour.to_owned())
    };
    assert_eq!(world.read(sign).await.unwrap(), read(&["open"], "black"));
    assert_eq!(world.ask(sign, "late".to_owned()).await.unwrap(), read(&["open", "late"], "red"));
    world.crash().await;
    assert_eq!(world.read(sign).await.unwrap(), read(&["open", "late"], "red"));
    let versions: Vec<_> = world.memory.log().iter().map(|stored| stored.record.version).collect();
    assert_eq!(versions, [1, 1, 3]);
}

/// What a sign says; at another version, shouted; in another shape, with its length.
#[derive(Debug)]
struct Texts<const VERSION: u32, const LENGTHS: bool>;

impl<const VERSION: u32, const LENGTHS: bool> Projection for Texts<VERSION, LENGTHS> {
    const NAME: &'static str = "texts";
    const VERSION: u32 = VERSION;

    async fn project(event: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(OldEvent::Painted { text }) = event.of::<OldSign>() else {
            return Ok(());
        };
        let text = if VERSION > 1 { text.to_uppercase() } else { text };
        let key = event.id.to_be_bytes();
        if LENGTHS {
            rows.put(&key, event.home, &(text.len(), text))
        } else {
            rows.put(&key, event.home, &text)
        }
    }
}

fn with<const VERSION: u32, const LENGTHS: bool>() -> Vec<Service> {
    vec![Service::new("test").aggregate::<OldSign>().projection::<Texts<VERSION, LENGTHS>>()]
}

#[tokio::test]
async fn a_projection_of_another_version_is_rebuilt_by_itself() {
    let mut world = World::new(with::<1, false>).await;
    world.ask(Entity::<OldSign>::new(HOME, 1), "open".to_owned()).await.unwrap();
    let texts = || async { world.node.rows::<Texts<1, false>, String>(&[], None, 9).await.unwrap() };
    world.until(Duration::ZERO, || async { texts().await.len() == 1 }).await;
    assert_eq!(texts().await[0].1, "open");

    for _ in 0..2 {
        world.upgrade(with::<2, false>).await;
        let texts = || async { world.node.rows::<Texts<2, false>, String>(&[], None, 9).await.unwrap() };
        world.until(Duration::ZERO, || async { texts().await.len() == 1 }).await;
        assert_eq!(texts().await[0].1, "OPEN");
    }
}

#[tokio::test]
async fn a_projection_whose_rows_changed_their_shape_is_rebuilt_once_one_is_met() {
    let mut world = World::new(with::<1, false>).await;
    let sign = Entity::<OldSign>::new(HOME, 1);
    world.ask(sign, "open".to_owned()).await.unwrap();
    world.until(Duration::ZERO, || async { world.memory.rows("texts").len() == 1 }).await;

    world.upgrade(with::<1, true>).await;

    let texts = || async { world.node.rows::<Texts<1, true>, (usize, String)>(&[], None, 9).await };
    world.until(Duration::ZERO, || async { world.node.readers().iter().all(|reader| reader.lag == 0) }).await;
    assert_eq!(texts().await, Err(Unavailable::Behind), "rather than a list without it");
    world.until(Duration::ZERO, || async { texts().await.is_ok_and(|texts| !texts.is_empty()) }).await;
    assert_eq!(texts().await.unwrap()[0].1, (4, "open".to_owned()));
}
