//! Code that changes over a history that does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Never;
use crate::{
    Aggregate, Context, Decision, Entity, Frame, Home, HomeKind, Kind, Name, Position, Projection, Recorded,
    Rows, Service, TierError, Topic, Unavailable, Upcaster, Value, testing::World,
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

    fn publish(event: &OldEvent) -> Option<serde_json::Value> {
        match event {
            OldEvent::Painted { text } => Some(text.clone().into()),
            OldEvent::Cleaned {} => None,
        }
    }
}

/// The same two versions later: lines instead of a text, then a colour; and it may be lit.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sign(Vec<String>, String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Painted { lines: Vec<String>, colour: String },
    Cleaned {},
    Lit {},
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
        if line == "light" {
            return Ok(Decision::event(Event::Lit {}));
        }
        let lines = self.0.iter().cloned().chain([line]).collect();
        Ok(Decision::event(Event::Painted { lines, colour: "red".to_owned() }))
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Painted { lines, colour } => (self.0, self.1) = (lines.clone(), colour.clone()),
            Event::Cleaned {} => self.0.clear(),
            Event::Lit {} => {}
        }
    }

    fn reply(&self) -> (Vec<String>, String) {
        (self.0.clone(), self.1.clone())
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        match event {
            Event::Painted { lines, .. } => Some(lines.concat().into()),
            Event::Lit {} => Some(true.into()),
            Event::Cleaned {} => None,
        }
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
        let Some(OldEvent::Painted { text }) = event.of::<OldSign>()? else {
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

#[tokio::test]
async fn a_projection_whose_rows_are_damaged_is_rebuilt_once_one_is_met() {
    let world = World::new(with::<1, false>).await;
    let sign = Entity::<OldSign>::new(HOME, 1);
    world.ask(sign, "open".to_owned()).await.unwrap();
    let texts = || async { world.node.rows::<Texts<1, false>, String>(&[], None, 9).await };
    world.until(Duration::ZERO, || async { texts().await.is_ok_and(|texts| texts.len() == 1) }).await;

    world.memory.damage_rows("texts");

    assert_eq!(texts().await, Err(Unavailable::Behind), "rather than a list without them");
    world.until(Duration::ZERO, || async { texts().await.is_ok_and(|texts| !texts.is_empty()) }).await;
    assert_eq!(texts().await.unwrap()[0].1, "open");
}

/// What a sign says, by a build that knows that it may be lit.
#[derive(Debug)]
struct LitTexts;

impl Projection for LitTexts {
    const NAME: &'static str = "texts";

    async fn project(event: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let key = event.id.to_be_bytes();
        match event.of::<Sign>()? {
            Some(Event::Painted { lines, .. }) => rows.put(&key, event.home, &lines.concat()),
            Some(Event::Lit {}) => {
                let text = rows.get::<String>(&key).await?.unwrap_or_default();
                rows.put(&key, event.home, &format!("{text}, lit"))
            }
            Some(Event::Cleaned {}) | None => Ok(()),
        }
    }
}

fn lit() -> Vec<Service> {
    vec![Service::new("test").aggregate::<Sign>().projection::<LitTexts>()]
}

/// A world whose history goes on with an event that the build which runs now has never heard of.
async fn back_from_the_future() -> World {
    let mut world = World::new(with::<1, false>).await;
    world.ask(Entity::<OldSign>::new(HOME, 1), "open".to_owned()).await.unwrap();
    world.until(Duration::ZERO, || async { world.memory.rows("texts").len() == 1 }).await;
    world.upgrade(new).await;
    world.ask(Entity::<Sign>::new(HOME, 1), "light".to_owned()).await.unwrap();
    world.upgrade(with::<1, false>).await;
    world
}

#[tokio::test]
async fn a_projection_stops_before_an_event_of_an_unknown_type_and_goes_on_once_it_is_known() {
    let mut world = back_from_the_future().await;
    let texts = |world: &World| {
        world.node.readers().into_iter().find(|reader| reader.name.as_str() == "texts").unwrap()
    };
    world.until(Duration::from_secs(1), || async { texts(&world).error.is_some() }).await;
    let error = texts(&world).error.unwrap();
    assert!(error.contains("`sign.lit` in version 3, is unknown to this build"), "{error}");

    // Whoever writes does not notice; what is written waits behind it.
    world.ask(Entity::<OldSign>::new(HOME, 2), "shut".to_owned()).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.until(Duration::ZERO, || async { texts(&world).lag == 3 }).await;
    assert_eq!(world.memory.rows("texts").len(), 1);
    assert!(world.node.health().iter().any(|(_, health)| *health == Err("texts is stuck".to_owned())));

    world.upgrade(lit).await;

    let rows = || async { world.node.rows::<LitTexts, String>(&[], None, 9).await.unwrap() };
    world.until(Duration::ZERO, || async { rows().await.len() == 2 }).await;
    let said: Vec<_> = rows().await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["open, lit", "shut"], "each event once, none skipped");
    world.until(Duration::ZERO, || async { texts(&world).error.is_none() }).await;
}

#[tokio::test]
async fn a_topic_is_told_up_to_an_event_of_an_unknown_type_and_never_past_it() {
    let mut world = back_from_the_future().await;
    world.ask(Entity::<OldSign>::new(HOME, 2), "shut".to_owned()).await.unwrap();
    let topic = Topic::Home(HOME);
    let mut live = world.node.watch(topic, Some(Position::default()));

    let Some(Frame::Event(open)) = live.next().await else { panic!("nothing is told") };
    assert_eq!(open.data, "open");
    assert_eq!(world.node.history(topic, Position::default(), 1).await.unwrap()[0].data, "open");
    assert_eq!(
        world.node.history(topic, Position::default(), 2).await.unwrap_err(),
        Unavailable::NotWritten,
        "rather than a list without it"
    );

    world.upgrade(lit).await;
    let rest = world.node.history(topic, open.position.clone(), 9).await.unwrap();
    assert_eq!(
        rest.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["sign.lit", "sign.painted"]
    );
}
