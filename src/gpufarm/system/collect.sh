# Prints what a capture holds of this machine, for gpufarm/system/stream.py to read.
#
# Needs a POSIX shell. awk and grep make it quicker where they are; what ls, od, readlink and tr
# would tell is left out where they are not. Changes nothing. Nothing is put into this text from outside: the
# only argument is the folder that stands for / in tests.
#
# Each line says by its first letter what it is:
#   F path   a text file; its lines follow: =line, and -line for a last one without line break
#   B path   the first bytes of a binary file follow, in hex: =00 11 22
#   L path   a symlink; what it leads to follows: >path, or ~text where nothing is there
#   P path   something is there
#   U path   something is there and cannot be read
#   V name text   what a program says of its version; may stand between any two lines
# The first line is `gpufarm-collect 1`, the last one `end`.

main() {
    root=${1%/}
    LC_ALL=C
    export LC_ALL root
    PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    newline='
'
    cd -P "$root/" || return 1
    top=$PWD
    [ "$top" = / ] && top=

    if command -v awk >/dev/null; then
        quick=yes
        collect | read_quickly
    else
        quick=
        collect
    fi
}

collect() {
    echo 'gpufarm-collect 1'
    programs &
    functions
    others_of_pci
    kernel
    configuration
    holders
    wait
    echo end
}

# A shell reads byte by byte, so that awk reads what the kernel shows: `R path` stands for it. A
# line that begins with a space is of od.
read_quickly() {
    awk '
        /^R / {
            path = substr($0, 3)
            print "F " path
            file = ENVIRON["root"] path
            while ((getline line < file) > 0) print "=" line
            close(file)
            next
        }
        /^ [0-9a-f][0-9a-f]/ { print "=" substr($0, 2); next }
        { print }
    '
}

# shown PATH: a file of sysfs or procfs, in which each line has a line break
shown() {
    if [ "$quick" ]; then
        readable "$1" && printf 'R %s\n' "$1"
    else
        whole "$1"
    fi
}

# whole PATH: every line of a file
whole() {
    readable "$1" || return
    printf 'F %s\n' "$1"
    line=
    while IFS= read -r line; do
        printf '=%s\n' "$line"
    done <"$root$1"
    [ -z "$line" ] || printf -- '-%s\n' "$line"
}

# some PATH WORD...: the lines of a file that have one of the words
some() {
    readable "$1" || return
    path=$1
    shift
    printf 'F %s\n' "$path"
    if command -v grep >/dev/null; then
        patterns=
        for word in "$@"; do
            patterns="$patterns$word$newline"
        done
        grep -F -e "${patterns%"$newline"}" "$root$path" | while IFS= read -r line; do
            printf '=%s\n' "$line"
        done
        return
    fi
    while IFS= read -r line || [ -n "$line" ]; do
        for word in "$@"; do
            case $line in
            *"$word"*)
                printf '=%s\n' "$line"
                break
                ;;
            esac
        done
    done <"$root$path"
}

# readable PATH: whether it is a file that can be read; says so where it cannot
readable() {
    [ -f "$root$1" ] || return 1
    [ -r "$root$1" ] && return
    printf 'U %s\n' "$1"
    return 1
}

# link PATH: where a symlink leads
link() {
    [ -L "$root$1" ] || return
    if cd -P "$root$1"; then
        printf 'L %s\n>%s\n' "$1" "${PWD#"$top"}"
    elif command -v readlink >/dev/null; then
        target=$(readlink "$root$1")
        case $target in *"$newline"*) return ;; esac
        printf 'L %s\n~%s\n' "$1" "$target"
    fi
    cd / || return
}

# there FOLDER NAME...: which of the names are in the folder
there() {
    folder=$1
    shift
    for name in "$@"; do
        if [ -e "$root$folder/$name" ] || [ -L "$root$folder/$name" ]; then
            printf 'P %s/%s\n' "$folder" "$name"
        fi
    done
}

# each FOLDER [SUFFIX]: sets `found` to the paths in a folder, one a line
each() {
    found=
    if [ -d "$root$1" ] && ! [ -r "$root$1" ]; then
        printf 'U %s\n' "$1"
    fi
    for entry in "$root$1"/*"${2-}"; do
        if [ -e "$entry" ] || [ -L "$entry" ]; then
            case $entry in *"$newline"*) continue ;; esac
            found="$found${entry#"$root"}$newline"
        fi
    done
}

# listed FOLDER: what is in a folder
listed() {
    each "$@"
    under_lines listed_one
}

listed_one() {
    printf 'P %s\n' "$1"
}

# under_lines COMMAND WORD...: the command for each path in `found`
under_lines() {
    kept=$IFS
    IFS=$newline
    set -f
    for one in $found; do
        set +f
        IFS=$kept
        "$@" "$one"
        IFS=$newline
        set -f
    done
    set +f
    IFS=$kept
}

wholes() {
    each "$@"
    under_lines whole
}

functions() {
    slots=' '
    each /sys/bus/pci/devices
    all=$found
    under_lines function_
    found=$all
    command -v od >/dev/null && under_lines header
}

function_() {
    printf 'P %s\n' "$1"
    link "$1"
    for name in uevent vendor device class subsystem_vendor subsystem_device modalias \
        driver_override numa_node resource current_link_speed current_link_width max_link_speed \
        max_link_width reset_method boot_vga sriov_totalvfs sriov_numvfs; do
        shown "$1/$name"
    done
    there "$1" reset config
    for name in driver iommu_group physfn; do
        link "$1/$name"
    done
    if [ -d "$root$1/vfio-dev" ]; then
        listed "$1/vfio-dev"
    fi
    if [ -d "$root$1/mdev_supported_types" ]; then
        each "$1/mdev_supported_types"
        types=$found
        for type in $types; do
            printf 'P %s\n' "$type"
            shown "$type/name"
            shown "$type/available_instances"
        done
    fi
    class=
    [ -r "$root$1/class" ] && IFS= read -r class <"$root$1/class"
    case $class in
    0x03* | 0x12*) slots="$slots${1%.*} " ;;
    esac
}

# The configuration space of what shares its slot with a display, which is all that it is read for.
header() {
    case $slots in
    *" ${1%.*} "*) ;;
    *) return ;;
    esac
    if [ -e "$root$1/physfn" ] || ! readable "$1/config"; then
        return
    fi
    printf 'B %s\n' "$1/config"
    if [ "$quick" ]; then
        od -An -v -tx1 -N64 "$root$1/config"
        return
    fi
    od -An -v -tx1 -N64 "$root$1/config" | while IFS= read -r line; do
        printf '=%s\n' "$line"
    done
}

others_of_pci() {
    each /sys/kernel/iommu_groups
    under_lines group
    each /sys/class/iommu
    under_lines unit
    each /sys/bus/pci/slots
    under_lines slot
    there /sys/firmware acpi
    there /sys/firmware/acpi/tables DMAR IVRS
}

group() {
    printf 'P %s\n' "$1"
    listed "$1/devices"
}

unit() {
    printf 'P %s\n' "$1"
    shown "$1/intel-iommu/ecap"
}

slot() {
    printf 'P %s\n' "$1"
    shown "$1/address"
}

kernel() {
    shown /proc/sys/kernel/osrelease
    shown /proc/sys/kernel/hostname
    shown /proc/cmdline
    shown /proc/modules
    processor
    there /dev kvm
    there /sys/module vfio vfio_iommu_type1 vfio_pci pci_stub kvm kvm_intel kvm_amd
    for name in vfio/parameters/enable_unsafe_noiommu_mode \
        vfio_iommu_type1/parameters/allow_unsafe_interrupts vfio_pci/parameters/ids \
        vfio_pci/parameters/disable_idle_d3 vfio_pci/parameters/disable_vga \
        vfio_pci/parameters/enable_sriov pci_stub/parameters/ids kvm/parameters/ignore_msrs \
        kvm_intel/parameters/nested kvm_amd/parameters/nested; do
        shown "/sys/module/$name"
    done
    release=
    [ -r "$root/proc/sys/kernel/osrelease" ] && IFS= read -r release <"$root/proc/sys/kernel/osrelease"
    case $release in
    '' | */* | *..*) ;;
    *) modules "/lib/modules/$release" ;;
    esac
    listed /sys/devices/system/node
    for name in sys_vendor product_name bios_version; do
        shown "/sys/class/dmi/id/$name"
    done
}

# The first of them: the others say the same.
processor() {
    readable /proc/cpuinfo || return
    echo 'F /proc/cpuinfo'
    while IFS= read -r line && [ -n "$line" ]; do
        printf '=%s\n' "$line"
    done <"$root/proc/cpuinfo"
}

modules() {
    there "$1" kernel
    some "$1/modules.builtin" vfio pci-stub kvm iommufd
    for name in drivers/vfio drivers/vfio/pci drivers/pci arch/x86/kvm; do
        listed "$1/kernel/$name"
    done
    for name in "/boot/config-$release" "$1/config"; do
        some "$name" CONFIG_VFIO CONFIG_PCI_STUB CONFIG_KVM CONFIG_INTEL_IOMMU CONFIG_AMD_IOMMU \
            CONFIG_IOMMU CONFIG_IRQ_REMAP CONFIG_ARM_SMMU CONFIG_PCI_PASID CONFIG_FB_EFI \
            CONFIG_SYSFB
    done
}

configuration() {
    for name in /etc/default/grub /etc/kernel/cmdline /etc/dracut.conf /etc/modules \
        /etc/initramfs-tools/initramfs.conf /etc/initramfs-tools/modules /etc/os-release \
        /usr/lib/os-release; do
        whole "$name"
    done
    for name in /boot/grub /boot/grub2; do
        some "$name/grub.cfg" linux
        some "$name/grubenv" kernelopts= tuned_params=
    done
    for name in /etc /run /usr/local/lib /usr/lib /lib; do
        wholes "$name/modprobe.d" .conf
        wholes "$name/modules-load.d" .conf
    done
    wholes /etc/default/grub.d .cfg
    wholes /etc/initramfs-tools/conf.d
    wholes /etc/dracut.conf.d .conf
    wholes /usr/lib/dracut/dracut.conf.d .conf
    wholes /etc/driverctl.d
    wholes /etc/gpufarm
    for name in systemd/system/gpufarm-bind.service systemd/system/sysinit.target.d/gpufarm.conf \
        initramfs-tools/hooks/gpufarm initramfs-tools/scripts/init-top/gpufarm; do
        whole "/etc/$name"
    done
    whole /usr/lib/dracut/modules.d/90gpufarm/module-setup.sh
    for name in /boot/loader /boot/efi/loader /efi/loader; do
        wholes "$name/entries" .conf
    done
    for name in /etc/udev/rules.d /etc/systemd/system /etc/initramfs-tools/scripts/init-top \
        /etc/initramfs-tools/scripts/init-premount /etc/initramfs-tools/hooks; do
        case $name in
        */rules.d) each "$name" .rules ;;
        */system) each "$name" .service ;;
        *) each "$name" ;;
        esac
        under_lines binder
    done
    there /usr/sbin driverctl grub-mkconfig grub2-mkconfig grubby update-grub update-initramfs
    there /usr/bin dracut kernel-install bootctl
    for name in lib64 lib/x86_64-linux-gnu lib/aarch64-linux-gnu lib; do
        for entry in "$root/usr/$name"/libvirt.so.0.*; do
            [ -e "$entry" ] && printf 'P %s\n' "${entry#"$root"}"
        done
    done
}

binder() {
    # Our own are read whole, and a path that came twice would have its second text.
    case $1 in */gpufarm | */gpufarm-bind.service) return ;; esac
    some "$1" driver_override vfio pci-stub :
}

programs() {
    [ -z "$root" ] || return
    version qemu qemu-system-x86_64 || version qemu /usr/libexec/qemu-kvm
}

# version NAME PROGRAM: the first line that the program says of its version
version() {
    command -v "$2" >/dev/null || return 1
    said=$("$2" --version </dev/null) || return 1
    printf 'V %s %s\n' "$1" "${said%%"$newline"*}"
}

# Processes with a VFIO device open.
holders() {
    listed /dev/vfio
    case $found in
    '' | /dev/vfio/vfio"$newline") return ;;
    esac
    folder=
    known=' '
    ls -lR "$root"/proc/[0-9]*/fd | while IFS= read -r line; do
        case $line in
        "$root"/proc/*/fd:)
            folder=${line#"$root"}
            folder=${folder%:}
            process=${folder%/fd}
            ;;
        *' -> /dev/vfio/'*)
            number=${line%% -> *}
            printf 'L %s/%s\n~%s\n' "$folder" "${number##* }" "${line#* -> }"
            case $known in
            *" $process "*) ;;
            *)
                known="$known$process "
                shown "$process/comm"
                guest "$process/cmdline"
                ;;
            esac
            ;;
        esac
    done
}

# Of the words of a QEMU only the first one and its -name: the others are nobody's business.
guest() {
    readable "$1" && command -v tr >/dev/null || return
    printf 'F %s\n' "$1"
    tr '\0\n' '\n ' <"$root$1" | {
        IFS= read -r line
        printf '=%s\n' "$line"
        while IFS= read -r line; do
            if [ "$line" = -name ] && IFS= read -r line; then
                printf '=-name\n=%s\n' "$line"
                break
            fi
        done
    }
}

main "${1-}" 2>/dev/null
