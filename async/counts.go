package async

// ended counts an outcome that this agent has recorded.
func (c *counts) ended(s Status, condition string) {
	switch {
	case s == Success:
		c.succeeded.Add(1)
	case condition == conditionCanceled:
		c.cancelled.Add(1)
	case condition == conditionAge:
		c.expired.Add(1)
	default:
		c.failed.Add(1)
	}
}

// countNames says what Counts has, and what each means.
var countNames = []struct{ name, help string }{
	{"accepted", "Asynchronous requests stored."},
	{"refused", "Asynchronous requests refused because the queue or its records were full."},
	{"started", "Attempts that got a slot."},
	{"retried", "Attempts that are to be repeated."},
	{"expired", "Asynchronous requests that got too old."},
	{"canceled", "Asynchronous requests that were canceled."},
	{"succeeded", "Asynchronous requests that ended well."},
	{"failed", "Asynchronous requests that failed after their last attempt."},
	{"notified", "Outcome messages that a destination took."},
	{"notification_failures", "Outcome messages that were dropped."},
}

// CountNames is the closed list of what Counts has.
func CountNames() []string {
	names := make([]string, 0, len(countNames))
	for _, c := range countNames {
		names = append(names, c.name)
	}
	return names
}

// CountHelp says in a sentence what a count of that name is; empty for other names.
func CountHelp(name string) string {
	for _, c := range countNames {
		if c.name == name {
			return c.help
		}
	}
	return ""
}

// Counts returns what happened at this agent so far, by name.
func (q *Queue) Counts() map[string]int64 {
	c := &q.counts
	return map[string]int64{
		"accepted":              c.accepted.Load(),
		"refused":               c.refused.Load(),
		"started":               c.started.Load(),
		"retried":               c.retried.Load(),
		"expired":               c.expired.Load(),
		"canceled":              c.cancelled.Load(),
		"succeeded":             c.succeeded.Load(),
		"failed":                c.failed.Load(),
		"notified":              c.delivered.Load(),
		"notification_failures": c.undelivered.Load(),
	}
}
