"""What goes wrong between a learner and a sensor, as functions: training learns under it, evaluation draws curves over it."""
