"""The words that the tiny model knows, and facts about them."""

NOUNS = (
    "apple bird boat book bridge candle chair clock cloud coat door drum engine farm feather "
    "field fire flag forest garden gate glass hammer harbor hill horn house island jacket jar "
    "kettle key kite ladder lamp leaf lemon letter map market mirror moon mountain needle nest "
    "ocean olive onion paper pencil pillow queen radio rain ribbon river road rope salt ship "
    "song star stone table tower umbrella valley village violin wagon wall window yard zebra"
).split()

PLURALS = dict(
    pair.split(":")
    for pair in (
        "cat:cats dog:dogs box:boxes fox:foxes city:cities baby:babies lady:ladies berry:berries "
        "bus:buses dish:dishes brush:brushes witch:witches church:churches class:classes "
        "leaf:leaves wolf:wolves knife:knives life:lives half:halves shelf:shelves man:men "
        "woman:women child:children tooth:teeth foot:feet mouse:mice goose:geese sheep:sheep "
        "corpus:corpora cactus:cacti hero:heroes potato:potatoes tree:trees hand:hands "
        "story:stories party:parties watch:watches glass:glasses lamp:lamps river:rivers"
    ).split()
)

OPPOSITES = dict(
    pair.split(":")
    for pair in (
        "hot:cold big:small fast:slow high:low hard:soft light:dark open:closed early:late "
        "full:empty rich:poor young:old wet:dry loud:quiet happy:sad strong:weak thick:thin "
        "wide:narrow deep:shallow clean:dirty sharp:blunt sweet:bitter cheap:expensive "
        "brave:afraid true:false"
    ).split()
)
OPPOSITES |= {b: a for a, b in OPPOSITES.items()}

KINDS = {
    "animal": "tiger horse rabbit eagle whale monkey camel shark lion otter".split(),
    "fruit": "banana cherry grape mango peach plum melon pear fig orange".split(),
    "color": "red blue green yellow purple brown black white pink gray".split(),
    "tool": "saw drill wrench shovel axe chisel pliers rake screwdriver file".split(),
    "metal": "iron copper silver gold tin lead zinc nickel steel brass".split(),
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}

POSITIVE = "great wonderful excellent lovely perfect superb charming friendly tasty fresh".split()
NEGATIVE = "awful terrible horrible boring rude broken stale noisy ugly dreadful".split()
THINGS = "food staff room music film service hotel story coffee view concert garden".split()

NAMES = "Ann Bob Eve Ivy Jim Kai Leo Mia Ned Sam Tom Zoe".split()

# unit, smaller unit, how many of the smaller one
UNITS = (
    ("kilometers", "meters", 1000),
    ("kilograms", "grams", 1000),
    ("liters", "milliliters", 1000),
    ("meters", "centimeters", 100),
    ("euros", "cents", 100),
    ("centimeters", "millimeters", 10),
)
