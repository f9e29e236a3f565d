//! DescribeWorkflowExecution (spec 01 §17).
