"""Other names of common design articles.

The table is ours, from general knowledge of the Locarno classification; it covers the families of MiniPatent and the
articles that design patents are often for. It need not be complete: a language model knows more names.
"""

import re
from functools import cache

from fastreid.utils.english import head_word, is_plural, plural, singular

# Names before the colon mean the same; those behind it are broader and true of each of them, never the reverse.
_TABLE = """
air conditioner, air-conditioning unit: climate appliance
air purifier, air cleaner: air treatment appliance
armchair: upholstered seat, chair, seat
automobile, car, motor car: motor vehicle, road vehicle
backpack, rucksack: carrying bag, bag
bag: carrying article
ball: piece of sports equipment
basket: container
bathtub, bath: sanitary fixture
battery: energy storage device, power source
bed: piece of sleeping furniture, piece of furniture
belt: clothing accessory
bench: seat, piece of seating furniture
bicycle, bike, cycle: pedal vehicle
blender, food blender: kitchen appliance
blood pressure monitor, sphygmomanometer: medical instrument
boat: watercraft, vessel
bolt, screw bolt: threaded fastener, fastener
book holder, book stand: reading support
bookcase, bookshelf: piece of storage furniture
boot: article of footwear
bottle, flask: liquid container, container
bottle cap, bottle closure: closure, sealing element
bowl: open vessel
box: container
bracelet, wristlet: article of jewelry
bracket: mounting element, support element
broom: sweeping implement, cleaning implement
brush: bristled implement
bucket, pail: container
buckle, clasp: fastener
building block, toy brick: construction toy
button: fastener
cabinet, cupboard: storage unit, piece of storage furniture
cable, cord: electrical conductor
camera: image recording device
candle holder, candlestick: holder for candles
cap: article of headwear, head covering
carpet, rug: floor covering
carton, cardboard box: package
chair: seat, seating unit, piece of seating furniture
charger, charging device: power supply unit
clamp: holding device
clip: holding device
clock: timepiece, time-keeping instrument
closure, closure cap: sealing element
clothes hanger, coat hanger, garment hanger: hanging support
coat: outer garment
coffee machine, coffee maker: beverage machine
comb, hair comb: grooming implement
computer: data-processing apparatus, computing device
computer mouse, mouse: pointing device, computer input device, hand-held input device
connector: joining element
container, receptacle: vessel, holder for goods
controller: input device, control unit
cooker, cooking range: cooking appliance
cookware, cooking vessel: kitchen vessel, kitchenware
cooler, cool box, ice chest: insulated container
cosmetic container: package for cosmetics
crib, cot, baby bed: piece of nursery furniture
cup, drinking cup: drinking vessel, vessel
curtain, drape: window covering
cushion: padded support
cutlery, flatware: tableware, eating utensils
desk, writing table: work table, piece of office furniture
dishwasher, dishwashing machine: household appliance
dispenser: dispensing device
display, display device: visual output device
display screen, display panel: visual output device
display screen with graphical user interface, graphical user interface: screen layout
doll: toy figure
door: closure of an opening
door handle, door lever: piece of door hardware
drawer: pull-out storage element
dress: garment
drill: drilling tool
drinking glass: drinking vessel
drinking straw, straw: drinking accessory
drone, unmanned aerial vehicle: pilotless aircraft, aerial vehicle, aircraft
dumbbell, hand weight, free weight: exercise weight, piece of exercise equipment
earphones: audio listening device
earring, ear ornament: article of jewelry
electric shaver, electric razor: grooming appliance
engine: drive unit
envelope: paper cover
exercise machine, exercise apparatus, fitness machine: piece of sports equipment
eyeglasses, spectacles, glasses: eyewear, vision aid
fan: air-moving device
faucet, tap: water outlet fitting, sanitary fitting, plumbing fixture
feeder, feeding device: food dispenser
fence: barrier
figurine, statuette: decorative figure
fireplace, hearth: heating installation
fishing lure, artificial bait: fishing article
flashlight, hand torch: portable light
floor tile: floor covering element
flowerpot, plant pot, planter: plant container
fork: eating utensil
frying pan, skillet: cooking pan, kitchen vessel
game controller, gamepad: input device
gear, gear wheel, toothed wheel, cogwheel: machine element, transmission element
glass: glass vessel
glove: hand covering
goggles: protective eyewear
golf club: piece of sports equipment
grill, barbecue: cooking appliance
guitar: stringed instrument
hair dryer, hairdryer, blow dryer: hair care appliance
hammer: striking tool, hand tool, impact tool
handbag, purse: carrying bag, bag
handle, grip: gripping element
hanger: hanging support
hat: article of headwear, head covering
headphones: headset, head-worn audio device, audio listening device
headset: head-worn audio device
heater, heating unit: heating appliance
helmet: protective headgear
hinge: pivot joint, pivoting connector
hook: hanging element
hose, flexible tube: fluid conduit
hot tub, spa bath: sanitary installation
icon, pictogram: graphic symbol
jacket: outer garment
jar: container, storage vessel
jug, pitcher: pouring vessel
kettle: water boiler, kitchen appliance
key: locking article
keyboard: input device with keys
kitchen knife: cutting implement
knife: cutting implement
knob: handle, grip element, operating element
label, tag: marking article
ladder: climbing device
lamp, luminaire, light fixture: lighting device, light
lantern: portable light
laptop, laptop computer, notebook computer: portable computer
lawn mower, lawnmower, grass cutter: garden machine
light: lighting device, luminaire
light bulb, bulb: light source
lid, cover: closure
lighter: smoker's article
lock: locking device, security device
loudspeaker, speaker: sound reproduction device, audio device
luggage: travel goods
mask: face covering
massager, massage device: body care device
mat: flat covering
mattress: bedding article
microphone: sound pickup device, audio input device
microscope: optical instrument
microwave oven, microwave: cooking appliance
mirror, looking glass: reflecting article
mobile phone, cellular phone, mobile telephone: hand-held communication device, telephone
monitor: visual output device
mop: floor cleaning implement
motorcycle, motorbike: two-wheeled motor vehicle
mug: drinking vessel
nail: fastener
necklace: article of jewelry
nozzle: fluid outlet
nut, threaded nut: threaded fastener
oven: cooking appliance
package, packaging container: packaging
pallet: load carrier
pants, trousers: garment
pen: writing instrument
pencil: writing instrument
pendant: hanging ornament, article of jewelry
pet bed: animal resting place
pet bowl, pet dish: animal feeding vessel
pet toy: article for animals
pet treat, pet snack: pet food
phone, telephone: communication device
phone case, cover for a phone: protective cover
picture frame: display frame
pillow: padded support, bedding article
pipe, tube: conduit
plate, dish: article of tableware
pliers: gripping tool, hand tool
plug: electrical connector
plug adapter: electrical adapter, adapter, electrical connector
pot: cooking vessel, vessel
pouch, small bag: flexible container
power adapter: power supply unit
power drill, electric drill: power tool
printer, printing device: office machine
projector: image projection device
pump: fluid machine
rack: storage support
radio, radio receiver: communication receiver
razor: shaving implement, grooming implement
refrigerator, fridge: cooling appliance
remote control, remote controller: control device
rifle: firearm, weapon
ring, finger ring: article of jewelry
robot: automatic machine
robot vacuum cleaner, robotic vacuum: cleaning robot
roof tile: roofing element
sandal: open shoe, article of footwear
saw: cutting tool
scale, weighing scale, balance: measuring instrument
scissors: cutting tool
scooter: wheeled vehicle
screw: threaded fastener
screwdriver: screw-driving tool, hand tool, fastening tool
seat: seating unit
sensor, detector: measuring device
server rack, equipment rack: equipment cabinet
shelf: storage surface, piece of storage furniture
shirt: upper garment, garment
shoe: article of footwear, footwear, foot covering
shoe sole, sole: shoe part
shower head, showerhead: water outlet fitting
sign, signboard: information carrier
sink, basin: sanitary fixture
skateboard: wheeled board, sports article
slipper, house shoe: article of footwear
smart watch, smartwatch: wrist-worn electronic device
sock: hosiery article
socket, electrical outlet: electrical connector
sofa, couch, settee: piece of upholstered furniture, seat for several persons
solar panel, photovoltaic module: energy converter
spoon: eating utensil
stand, support: support device
stapler, stapling device: office tool
sticker, adhesive label: adhesive article
stool: backless seat, seat, piece of seating furniture
storage box, storage container, storage bin: container
stroller, baby carriage, pushchair: child transport vehicle
suitcase: travel case, piece of luggage
sunglasses: tinted glasses, eyewear
switch: electrical control element
syringe: medical instrument
table: piece of furniture
tablet, tablet computer: portable computer
television, television set, television receiver: display apparatus
tent: portable shelter
thermometer: temperature measuring instrument
thermostat, temperature controller: control device
timer: time-keeping instrument
tire, tyre: wheel part
toaster, bread toaster: kitchen appliance
toilet, water closet: sanitary fixture
tool, implement: working device
tool box, toolbox: storage case
toothbrush, dental brush: oral care implement
towel: textile article
toy: plaything
toy car: toy vehicle, toy
toy vehicle, model vehicle: wheeled toy, toy, plaything
tractor: agricultural vehicle
tray: carrying surface
trolley, cart: wheeled carrier
truck, lorry: motor vehicle
umbrella: portable canopy
USB drive, flash drive, memory stick: data storage device
vacuum cleaner, vacuum: suction cleaner, cleaning appliance
valve: flow control fitting
vase: ornamental vessel, decorative vessel, ornamental container
vehicle: conveyance
vehicle wheel: rotating vehicle part
vending machine, automatic dispenser: sales machine
video game console, game console: entertainment device
wall panel, cladding panel: building element
wallet, billfold: pocket case
wardrobe, clothes cabinet: piece of storage furniture
washing machine, washer, laundry machine: household appliance
watch: timepiece, time-keeping instrument, portable timepiece
water bottle, drinking bottle: liquid container
wheel rim, rim: wheel part
wheelchair: mobility device
window: building element
wine glass: drinking vessel
wrench, spanner: turning tool, hand tool
wristwatch, wrist watch: watch, timepiece
"""
# Words that stay true at the end of longer names: an office chair is a chair, but a pillow case is no box.
_KINDS = frozenset(
    re.findall(
        r"\w+",
        """armchair automobile bathtub bench bicycle bookcase boot bottle bracelet bucket cabinet camera car
        chair clock computer container desk dishwasher door drone dumbbell earphones earring eyeglasses
        faucet figurine flashlight flowerpot glove goggles guitar hammer handbag headphones helmet hinge
        jacket kettle knife knob ladder lamp lantern loudspeaker luminaire mattress microphone microscope
        mirror motorcycle mug necklace oven phone pillow planter pliers printer projector refrigerator robot
        sandal scissors screwdriver shelf shirt shoe slipper sofa speaker spoon stool suitcase sunglasses
        table telephone television tent thermometer thermostat toaster toilet toothbrush towel toy tractor
        truck umbrella valve vase vehicle wallet wardrobe watch wheelchair wrench""",
    )
)
# A noun for an article of each class of the Locarno classification, of which nothing else is known.
_ARTICLES = {
    1: "food product",
    2: "article of clothing",
    3: "travel article",
    4: "brush article",
    5: "textile article",
    6: "furnishing article",
    7: "household article",
    8: "hardware article",
    9: "packaging article",
    10: "measuring instrument",
    11: "article of adornment",
    12: "transport device",
    13: "electrical apparatus",
    14: "electronic apparatus",
    15: "machine",
    16: "optical apparatus",
    17: "musical instrument",
    18: "office machine",
    19: "stationery article",
    20: "sales or advertising article",
    21: "game, toy or sports article",
    22: "hunting or fishing article",
    23: "sanitary or heating article",
    24: "medical or laboratory article",
    25: "building element",
    26: "lighting apparatus",
    27: "smoking article",
    28: "pharmaceutical or cosmetic article",
    29: "rescue article",
    30: "article for animals",
    31: "food preparation machine",
    32: "graphic symbol",
}


def names() -> list[object]:
    """Return everything that this module knows, for the provenance of texts."""
    return [_TABLE, sorted(_KINDS), _ARTICLES]


@cache
def _names() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return for each name of the table the other ones that mean the same, and the broader ones."""
    found = {}
    for line in _TABLE.strip().splitlines():
        same, broader = (tuple(part.strip().split(", ")) for part in line.split(":"))
        found.update({name.lower(): (tuple(other for other in same if other != name), broader) for name in same})
    return found


def synonyms(name: str) -> tuple[str, ...]:
    """Return other names of an article, those that mean the same first; () for an unknown one.

    A name that is not in the table goes by the word that it turns on, where that stays true: an office chair is a
    chair, a seat. A plural gets plurals: "chairs" may be called "seats".
    """
    name, head = name.lower(), head_word(name).lower()
    table, many = _names(), is_plural(name)
    for known in dict.fromkeys((name, singular(name))):
        if known in table:
            same, broader = table[known]
            return tuple(plural(other) if known != name else other for other in same + broader)
    for known in dict.fromkeys((head, singular(head))):
        if known in _KINDS and known in table:
            return tuple(plural(other) if many else other for other in (known, *table[known][1]))
    return ()


def class_article(code: str) -> str:
    """Return a noun for an article of the Locarno class of "06-01" or "06"; "" for an unknown class."""
    return _ARTICLES.get(int(code[:2]), "") if code else ""
