package event

// A Durability says what an append waited for before it returned.
type Durability uint8

// Durabilities. Durable survives a power cut, Written the end of the process.
const (
	Durable Durability = iota + 1
	Written
)

// String returns "durable" or "written".
func (d Durability) String() string {
	switch d {
	case Durable:
		return "durable"
	case Written:
		return "written"
	}
	return "unknown"
}

// MarshalText returns the same text as String.
func (d Durability) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Durability) UnmarshalText(b []byte) error {
	switch string(b) {
	case "durable":
		*d = Durable
	case "written":
		*d = Written
	default:
		return ErrInvalid
	}
	return nil
}
