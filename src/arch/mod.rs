//! Families of models as data: names both ways, configuration both ways, and what a layer is.
