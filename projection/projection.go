package projection

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/batpak/batpak/event"
)

// Defaults and bounds of a [Spec].
const (
	DefaultMaxStateBytes = 1 << 20
	MaxStateBytes        = 256 << 20
	DefaultSnapshotEvery = 1000
	maxNameBytes         = 128
)

// A Handler changes the state for the events of one payload type; [On] makes it.
type Handler[S any] = event.Handler[*S]

// On returns the handler that calls f for each event of P's kind, with the payload lifted to the current version. The state
// is f's for the time of the call; with an error the fold fails.
func On[S any, P event.Payload](f func(s *S, e event.Event, p P) error) Handler[S] {
	return event.On(f)
}

// A Spec is what a projection is made from. S must survive encoding as CBOR: its fields are exported, all the way down, or
// of types that encode themselves, and no two of its pointers lead to one value, since they would not after decoding.
type Spec[S any] struct {
	// Name and Version, from 1, name what the handlers compute: change Version when that changes, be
	// it because an upcast of a payload gives other values than before. Name is as an entity.
	Name    string
	Version uint16

	// Handlers, one for each payload type that changes the state. Events of other kinds are passed over.
	Handlers []Handler[S]

	// Init returns the state before the first event. Nil means the zero S.
	Init func() S

	// Query returns the events that the state of a key is made of; After, Limit and Reverse must not be set. Nil means
	// those of the entity that the key names, in lane 0.
	Query func(key string) event.Query

	// MaxStateBytes bounds the encoded state. 0 means DefaultMaxStateBytes; more than [MaxStateBytes] is refused. It is looked
	// at when a fold ends, and in between when the events since have added up to 1 MiB and to what the state takes.
	MaxStateBytes int

	// SnapshotEvery is how many events are folded before a snapshot is worth its write. 0 means DefaultSnapshotEvery.
	SnapshotEvery int
}

// A Projection is a checked [Spec]. It does not change and may be used from any goroutine, with any number of sources. One that
// [New] did not make is refused by whatever reads or folds with it.
type Projection[S any] struct {
	spec   Spec[S]
	router *event.Router[*S]
}

// New returns the projection of a spec. It fails with an error that matches [event.ErrInvalid], for payload types as
// [event.NewRegistry] does.
func New[S any](spec Spec[S]) (*Projection[S], error) {
	if err := event.At(spec.Name, "projection").Validate(); err != nil {
		return nil, fmt.Errorf("projection name: %w", err)
	}
	if spec.MaxStateBytes == 0 {
		spec.MaxStateBytes = DefaultMaxStateBytes
	}
	if spec.SnapshotEvery == 0 {
		spec.SnapshotEvery = DefaultSnapshotEvery
	}
	switch {
	case len(spec.Name) > maxNameBytes:
		return nil, fmt.Errorf("projection name of %d bytes, at most %d: %w", len(spec.Name), maxNameBytes, event.ErrInvalid)
	case spec.Version == 0:
		return nil, fmt.Errorf("projection %q has version 0: %w", spec.Name, event.ErrInvalid)
	case len(spec.Handlers) == 0:
		return nil, fmt.Errorf("projection %q has no handlers: %w", spec.Name, event.ErrInvalid)
	case spec.MaxStateBytes < 0 || spec.MaxStateBytes > MaxStateBytes || spec.SnapshotEvery < 0:
		return nil, fmt.Errorf("projection %q: MaxStateBytes %d or SnapshotEvery %d out of bounds: %w",
			spec.Name, spec.MaxStateBytes, spec.SnapshotEvery, event.ErrInvalid)
	}
	if path := unencoded(reflect.TypeFor[S](), nil); path != "" {
		return nil, fmt.Errorf("projection %q: %v is not encoded and would be lost: %w", spec.Name, path, event.ErrInvalid)
	}
	router, err := event.NewRouter(spec.Handlers...)
	if err != nil {
		return nil, fmt.Errorf("projection %q: %w", spec.Name, err)
	}
	return &Projection[S]{spec, router}, nil
}

// MustNew is [New] for package variables. It panics where New fails.
func MustNew[S any](spec Spec[S]) *Projection[S] {
	p, err := New(spec)
	if err != nil {
		panic(err)
	}
	return p
}

// Init returns the state before the first event.
func (p *Projection[S]) Init() S {
	if p == nil || p.spec.Init == nil {
		var s S
		return s
	}
	return p.spec.Init()
}

// Apply folds one event into s, whatever its query says. It is the step of every fold, for those who have the events
// already.
func (p *Projection[S]) Apply(s *S, e event.Event) error {
	if err := p.made(); err != nil {
		return err
	}
	if err := p.handle(s, e); err != nil {
		return fmt.Errorf("projection %q: %w", p.spec.Name, err)
	}
	return nil
}

// handle is Apply with an error that names the event alone.
func (p *Projection[S]) handle(s *S, e event.Event) error {
	_, err := p.router.Route(s, e)
	if bad, ok := errors.AsType[*event.DecodeError](err); err == nil || ok && bad.Seq == e.Seq {
		return err // which names it
	}
	return fmt.Errorf("event %d: %w", e.Seq, err)
}

// made reports a projection that New did not make.
func (p *Projection[S]) made() error {
	if p == nil || p.router == nil {
		return fmt.Errorf("projection onto %v was not made by New: %w", reflect.TypeFor[S](), event.ErrInvalid)
	}
	return nil
}

// query returns the events that the state of key is made of.
func (p *Projection[S]) query(key string) (event.Query, error) {
	if err := p.made(); err != nil {
		return event.Query{}, err
	}
	if p.spec.Query == nil {
		if key == "" {
			return event.Query{}, fmt.Errorf("projection %q: no entity is named: %w", p.spec.Name, event.ErrInvalid)
		}
		return event.Query{Entity: key, Lane: new(event.Lane(0))}, nil
	}
	q := p.spec.Query(key)
	if q.After != 0 || q.Limit != 0 || q.Reverse {
		return q, fmt.Errorf("projection %q: query %v has an After, Limit or Reverse: %w", p.spec.Name, &q, event.ErrInvalid)
	}
	return q, q.Validate()
}

// encoders are the pairs of interfaces by which a type says itself how it is encoded and decoded, the stronger first.
var encoders = [][2]reflect.Type{
	{reflect.TypeFor[interface{ MarshalCBOR() ([]byte, error) }](), reflect.TypeFor[interface{ UnmarshalCBOR([]byte) error }]()},
	{reflect.TypeFor[interface{ MarshalBinary() ([]byte, error) }](), reflect.TypeFor[interface{ UnmarshalBinary([]byte) error }]()},
}

// encodesItself reports whether a type does, and whether it decodes itself too.
func encodesItself(t reflect.Type) (encodes, decodes bool) {
	p := reflect.PointerTo(t)
	for _, e := range encoders {
		if encodes, decodes = p.Implements(e[0]), p.Implements(e[1]); encodes || decodes {
			return encodes, decodes
		}
	}
	return false, false
}

// unencoded returns what of a type is lost when it is encoded as CBOR, or "". seen are the types that t is part of.
func unencoded(t reflect.Type, seen []reflect.Type) string {
	if slices.Contains(seen, t) {
		return ""
	}
	seen = append(seen, t)
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time.Time, unlike event.Timestamp," // from CBOR it comes back in UTC
	case reflect.TypeFor[big.Int]():
		return "" // which the library knows
	case reflect.TypeFor[cbor.RawMessage](), reflect.TypeFor[cbor.RawTag]():
		return t.String() + ", which comes back as null if it is empty,"
	}
	encodes, decodes := encodesItself(t)
	if encodes != decodes {
		return t.String() + ", which encodes itself or decodes itself, and not both,"
	}
	if encodes {
		return embedsEncoder(t, seen)
	}
	switch t.Kind() {
	case reflect.Pointer:
		if nullable(t.Elem().Kind()) {
			return t.String() + ", which comes back nil if what it points to is nil,"
		}
		if saysNull(t.Elem()) {
			return t.String() + ", which comes back nil if what it points to is encoded as null,"
		}
		return unencoded(t.Elem(), seen)
	case reflect.Slice, reflect.Array:
		return unencoded(t.Elem(), seen)
	case reflect.Map:
		if pointed(t.Key()) {
			return t.String() + ", whose keys come back as other pointers,"
		}
		if lost := unencoded(t.Key(), seen); lost != "" {
			return lost
		}
		return unencoded(t.Elem(), seen)
	case reflect.Struct:
		return unencodedField(t, seen, map[any]bool{t: true})
	case reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128, reflect.Interface, reflect.Uintptr:
		return t.String()
	}
	return ""
}

// nullable reports whether values of a kind can be null.
func nullable(k reflect.Kind) bool {
	return k == reflect.Map || k == reflect.Slice || k == reflect.Pointer
}

// saysNull reports whether a type encodes its values itself so that one may be null: what encodes itself as binary is a string
// of bytes.
func saysNull(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(encoders[0][0]) && t.PkgPath() != reflect.TypeFor[event.ID]().PkgPath()
}

// changesOmitted reports whether a value of a type that is left out may come back as another: an empty one as nil, a zero below
// zero as one above, and one that says itself that it is zero or that it has no bytes as what is zero.
func changesOmitted(t reflect.Type) bool {
	if t == reflect.TypeFor[event.ID]() {
		return false
	}
	if encodes, _ := encodesItself(t); encodes {
		return true
	}
	switch t.Kind() {
	case reflect.Map, reflect.Slice, reflect.Float32, reflect.Float64:
		return true
	case reflect.Array:
		return changesOmitted(t.Elem()) || saysZero(t)
	case reflect.Struct:
		for i := range t.NumField() {
			if changesOmitted(t.Field(i).Type) {
				return true
			}
		}
	}
	return saysZero(t)
}

// saysZero reports whether values of a type say themselves that they are zero, and so are left out.
func saysZero(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ IsZero() bool }]())
}

// isArray reports whether a struct is encoded as an array, in which every field has its place.
func isArray(t reflect.Type) bool {
	f, ok := t.FieldByName("_")
	return ok && strings.Contains(f.Tag.Get("cbor"), "toarray")
}

// leavesTrace reports whether a struct has a field of its own that is never left out.
func leavesTrace(t reflect.Type) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options := fieldTag(&f)
		if f.IsExported() && !f.Anonymous && (name != "-" || options != "") && !strings.Contains(options, "omit") {
			return true
		}
	}
	return false
}

// embedsEncoder is unencoded of a type that encodes itself: if it is a struct in which a type that does is embedded, it has the
// methods of that, and is encoded as it alone.
func embedsEncoder(t reflect.Type, seen []reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	embeds, beside := (*reflect.StructField)(nil), ""
	for i := range t.NumField() {
		f := t.Field(i)
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.Anonymous && encodesAs(inner, t) {
			embeds = &f
		} else if beside == "" {
			beside = t.String() + "." + f.Name
		}
	}
	switch {
	case embeds == nil:
		return ""
	case beside == "" && embeds.Type.Kind() == reflect.Pointer:
		return t.String() + "." + embeds.Name + ", which cannot be encoded while it is nil,"
	case beside == "":
		return unencoded(embeds.Type, seen)
	}
	return beside
}

// encodesAs reports whether a type has the method with which outer is encoded: if it is embedded there, that may be its own.
func encodesAs(t, outer reflect.Type) bool {
	for _, e := range encoders {
		if reflect.PointerTo(outer).Implements(e[0]) {
			return t.Implements(e[0]) || reflect.PointerTo(t).Implements(e[0])
		}
	}
	return false
}

// pointed reports whether there are pointers in a key of that type.
func pointed(t reflect.Type) bool {
	if encodes, _ := encodesItself(t); encodes {
		return false
	}
	switch t.Kind() {
	case reflect.Pointer:
		return true
	case reflect.Array:
		return pointed(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointed(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// unencodedField is unencoded of a struct. names are those that other fields of the encoded map have,
// and the types that are embedded in it.
func unencodedField(t reflect.Type, seen []reflect.Type, names map[any]bool) string {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue
		}
		name, options := fieldTag(&f)
		inner, flat := embedded(&f, name)
		switch {
		case name == "":
			name = f.Name
		case leftOut(&f):
			return t.String() + "." + f.Name
		case strings.Contains(options, "keyasint"):
			number, _ := strconv.Atoi(name)
			name = fmt.Sprint("\x00", number) // which is no text
		}
		switch {
		case !f.IsExported() && !flat:
			return t.String() + "." + f.Name
		case strings.Contains(options, "omit") && changesOmitted(f.Type):
			return t.String() + "." + f.Name + ", of which what " + options + " leaves out may come back as another value,"
		case flat && f.Type.Kind() == reflect.Pointer && (!leavesTrace(inner) || isArray(t)):
			return t.String() + "." + f.Name + ", which comes back nil if its fields are left out,"
		case flat:
			if names[inner] {
				return t.String() + "." + f.Name + ", which is embedded twice,"
			}
			names[inner] = true
			if lost := unencodedField(inner, seen, names); lost != "" {
				return lost
			}
			continue
		case names[name]:
			return t.String() + "." + f.Name + ", of whose name there is another field,"
		}
		names[name] = true
		if lost := unencoded(f.Type, seen); lost != "" {
			return lost
		}
	}
	return ""
}

// embedded reports whether the fields of a field are encoded as those of the struct that it is part of, and of which type it
// is then.
func embedded(f *reflect.StructField, name string) (t reflect.Type, is bool) {
	if t = f.Type; t.Kind() == reflect.Pointer && f.IsExported() {
		t = t.Elem()
	}
	return t, f.Anonymous && name == "" && t.Kind() == reflect.Struct
}

// leftOut reports whether a field is said to be.
func leftOut(f *reflect.StructField) bool {
	tag := f.Tag.Get("cbor")
	if tag == "" {
		tag = f.Tag.Get("json")
	}
	return tag == "-"
}

// fieldTag returns the name that a tag gives a field, if any, and the rest of the tag.
func fieldTag(f *reflect.StructField) (name, options string) {
	tag := f.Tag.Get("cbor")
	if tag == "" {
		tag = f.Tag.Get("json")
	}
	name, options, _ = strings.Cut(tag, ",")
	return name, options
}
