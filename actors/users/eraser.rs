//! The eraser: destroys the keys of homes in which nobody is any more.
//!
//! It acts on the last event of a saga that let a home go, when nothing is under way there.

use prognet_supervisor::{Aggregate, Name, Node, Reader, ReaderError, Recorded};

use super::{
    leaving::{self, Leaving},
    sign_up::{self, SignUp},
};

/// See the module.
#[derive(Debug)]
pub struct Eraser;

impl Reader for Eraser {
    const NAME: &'static str = "eraser";

    fn concerns(&self, kind: Name) -> bool {
        kind == SignUp::KIND.name || kind == Leaving::KIND.name
    }

    async fn take(&self, event: &Recorded, node: &Node) -> Result<(), ReaderError> {
        let is_let_go = matches!(event.of::<SignUp>()?, Some(sign_up::Event::LetGo { .. }))
            || matches!(event.of::<Leaving>()?, Some(leaving::Event::Gone { .. }));
        if is_let_go {
            node.erase(event.home).await?;
        }
        Ok(())
    }
}
