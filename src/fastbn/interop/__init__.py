"""Exchange of trained nets with other libraries; none of them is imported here."""
