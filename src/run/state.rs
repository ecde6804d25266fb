//! What a recurrent layer remembers of the tokens that it has seen.

/// What is remembered; its size does not grow with the tokens.
#[derive(Clone, Default)]
pub(super) struct State {
    now: Option<Memory>,
    /// That after the batch that is being computed: it counts when all layers are done.
    next: Option<Memory>,
}

/// What one part of a layer remembers.
#[derive(Clone, Default)]
pub(super) struct Memory {
    /// Its last inputs.
    pub(super) window: Vec<f32>,
    /// What it has made of all before.
    pub(super) hidden: Vec<f32>,
}

impl State {
    /// What was remembered while a batch was computed is remembered from now on.
    pub(super) fn advance(&mut self) {
        if let Some(next) = self.next.take() {
            self.now = Some(next);
        }
    }

    /// What is remembered; nothing before the first token.
    pub(super) fn now(&self) -> Option<Memory> {
        self.now.clone()
    }

    /// Remembers this, once the batch is computed.
    pub(super) fn keep(&mut self, memory: Memory) {
        self.next = Some(memory);
    }
}
