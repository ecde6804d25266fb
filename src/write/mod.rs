//! Model → layout → bytes. A layout says what lies where; one executor writes every format.

pub mod execute;
pub mod layout;
pub mod progress;

pub use execute::{ExecuteOptions, execute};
pub use layout::{FilePlan, Layout, Part};
pub use progress::{Bar, Progress, Silent};
