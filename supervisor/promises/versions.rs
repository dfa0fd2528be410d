//! Code that changes over a history that does not.

use serde::{Deserialize, Serialize};

use super::Never;
use crate::{
    Aggregate, Context, Decision, Entity, Home, HomeKind, Kind, Name, Service, Upcaster, Value,
    testing::World,
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
